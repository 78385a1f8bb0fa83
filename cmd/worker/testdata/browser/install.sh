#!/bin/sh
# Puts axe-core, which judges whether everyone can use the page, into a folder:
#   install.sh [FOLDER]     default: the sdworker-clients folder of the user's cache
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sdworker-clients}/browser
mkdir -p "$folder"
cp "$here/package.json" "$folder/"
cd "$folder"
npm install --no-audit --no-fund --silent
