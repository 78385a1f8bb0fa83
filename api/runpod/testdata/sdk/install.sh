#!/bin/sh
# Puts RunPod's Python SDK into a folder, for the test that plays its scenarios with it:
#   install.sh [FOLDER]     default: the sdworker-clients folder of the user's cache
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sdworker-clients}/runpod
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet runpod==1.12.0
