#!/bin/sh
# Puts a validator of OpenAPI documents and a generator of clients into a folder, for the test
# that runs them:
#   install.sh [FOLDER]     default: the sdworker-clients folder of the user's cache
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sdworker-clients}/openapi
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet openapi-spec-validator==0.9.0 openapi-python-client==0.29.1
