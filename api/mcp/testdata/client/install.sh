#!/bin/sh
# Puts the official Python client of the Model Context Protocol into a folder, for
# the test that drives it:
#   install.sh [FOLDER]     default: the sdworker-clients folder of the user's cache
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sdworker-clients}/mcp
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet mcp==2.3.0
