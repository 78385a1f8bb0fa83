#!/usr/bin/env bash
# job.sh PROMPT FILE: queues a job, tells its state, saves the picture as FILE.
set -euo pipefail
server=${SDWORKER_URL:-http://127.0.0.1:7860}

id=$(jq -n --arg prompt "$1" '{endpoint: "txt2img", input: {prompt: $prompt, steps: 20}}' | curl -fsS "$server/v1/jobs" --json @- | jq -r .id)
while job=$(curl -fsS "$server/v1/jobs/$id"); do
	status=$(jq -r .status <<<"$job")
	echo "$id: $status" >&2
	case $status in
	completed) break ;;
	failed | canceled)
		jq .error <<<"$job" >&2
		exit 1
		;;
	esac
	sleep 0.2
done
jq -r '.output.images[0]' <<<"$job" | base64 -d >"$2"
