#!/usr/bin/env bash
# txt2img.sh PROMPT FILE: one picture, saved as FILE.
set -euo pipefail
server=${SDWORKER_URL:-http://127.0.0.1:7860}

jq -n --arg prompt "$1" '{prompt: $prompt, steps: 20, sampler_name: "Euler a"}' |
	curl -fsS "$server/sdapi/v1/txt2img" --json @- |
	jq -r '.images[0]' | base64 -d >"$2"
