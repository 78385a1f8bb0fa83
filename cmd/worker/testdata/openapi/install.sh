#!/bin/sh
# Puts a validator of OpenAPI documents, a generator of clients and one of requests into a folder, for the tests
# that run them:
#   install.sh [FOLDER]     default: the sdworker-clients folder of the user's cache
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sdworker-clients}/openapi
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet openapi-spec-validator==0.9.0 openapi-python-client==0.29.1 schemathesis==4.32.5
