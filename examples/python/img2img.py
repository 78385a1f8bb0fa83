#!/usr/bin/env python3
"""img2img.py PROMPT PICTURE FILE: changes a picture as the prompt says, and saves it as FILE."""
import base64
import json
import os
import sys
import urllib.error
import urllib.request

SERVER = os.environ.get("SDWORKER_URL", "http://127.0.0.1:7860")


def call(route, body):
    """Sends a JSON body and returns the JSON reply; an error reply ends the program with its text."""
    request = urllib.request.Request(SERVER + route, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code}: {error.read().decode()}")


def main():
    prompt, picture, file = sys.argv[1:]
    with open(picture, "rb") as f:
        image = base64.b64encode(f.read()).decode()
    reply = call("/sdapi/v1/img2img", {"prompt": prompt, "init_images": [image], "denoising_strength": 0.6, "steps": 20})
    with open(file, "wb") as f:
        f.write(base64.b64decode(reply["images"][0]))
    print(json.loads(reply["info"])["infotexts"][0])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main()
