#!/usr/bin/env bash
# webuiapi 0.9.17: ControlNet units given to one call of txt2img() go out with every later call of the process, also with those
# that name none. A default argument is shared between the calls, and it is set right only if GET /sdapi/v1/scripts lists a
# script named "controlnet m2m". A server with ControlNet should list it.
#
# Expected: the second of two calls has units in its body without that script, and none with it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check webuiapi==0.9.17 pillow
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import webuiapi
from PIL import Image


class Reply:
    status_code = 200

    def __init__(self, body):
        self.body = body

    def json(self):
        return self.body


def second_call(scripts):
    """The always-on scripts in the body of a call without units, after one with a unit."""
    sent = []
    api = webuiapi.WebUIApi()
    api.session.get = lambda url, **kw: Reply({"txt2img": scripts, "img2img": scripts})
    api.session.post = lambda url, json=None, **kw: sent.append(json) or Reply({"images": [], "parameters": {}, "info": "{}"})
    api.check_extensions()
    unit = webuiapi.ControlNetUnit(image=Image.new("RGB", (8, 8)), module="canny", model="canny")
    api.txt2img(prompt="with a unit", controlnet_units=[unit])
    api.txt2img(prompt="without")
    scripts = {name.lower(): value for name, value in (sent[1].get("alwayson_scripts") or {}).items()}
    return len(scripts.get("controlnet", {}).get("args", []))


without, listed = second_call([]), second_call(["controlnet m2m"])
print(f"units in the second call: {without} without the script's name, {listed} with it", flush=True)
sys.exit(0 if (without, listed) == (1, 0) else "the behaviour has changed")
PYTHON
