#!/bin/sh
# Puts the client packages that the tests drive into a folder:
#   install.sh [FOLDER]     default: the sdworker-clients folder of the user's cache
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sdworker-clients}
mkdir -p "$folder"
if command -v python3 >/dev/null; then
	[ -x "$folder/python/bin/python" ] || python3 -m venv "$folder/python"
	"$folder/python/bin/pip" install --quiet webuiapi==0.9.17
fi
if command -v npm >/dev/null; then
	cp "$here/package.json" "$folder/"
	(cd "$folder" && npm install --no-audit --no-fund --silent)
fi
if command -v go >/dev/null; then
	(cd "$here/goclient" && go build -o "$folder/goclient" .)
fi
