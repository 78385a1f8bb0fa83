"""Validates the OpenAPI document of a server, generates a client of it and makes a picture with that.

    python client.py http://127.0.0.1:7860 FOLDER
"""

import base64
import importlib
import json
import os
import subprocess
import sys
import typing
import urllib.request

from openapi_spec_validator import validate

base, folder = sys.argv[1:]
with urllib.request.urlopen(base + "/openapi.json") as reply:
    document = json.load(reply)
validate(document)

paths = {name: os.path.join(folder, name) for name in ("openapi.json", "config.json", "worker_client")}
with open(paths["openapi.json"], "w") as f:
    json.dump(document, f)
with open(paths["config.json"], "w") as f:
    json.dump({"post_hooks": []}, f)
done = subprocess.run(
    [sys.executable, "-m", "openapi_python_client", "generate", "--path", paths["openapi.json"], "--config", paths["config.json"], "--meta", "none",
     "--output-path", paths["worker_client"]], capture_output=True, text=True)
told = done.stdout + done.stderr
# The generator knows no image/* and leaves out that one reply.
if done.returncode != 0 or told.count("WARNING") != told.count("Unsupported content_type image/*"):
    sys.exit(told)

sys.path.insert(0, folder)
client = importlib.import_module("worker_client").Client(base_url=base, raise_on_unexpected_status=True)


def call(name, body=None, **parameters):
    """Calls a route by the types that were generated for it."""
    sync = importlib.import_module("worker_client.api.default." + name).sync
    if body is not None:
        parameters["body"] = typing.get_type_hints(sync)["body"].from_dict(body)
    return sync(client=client, **parameters)


picture = {"prompt": "a red mushroom", "steps": 1, "width": 64, "height": 64, "seed": 5}
made = call("sdapi_v1_txt2img_post", picture)
assert base64.b64decode(made.images[0])[:8] == b"\x89PNG\r\n\x1a\n", "no picture"
assert json.loads(made.info)["seed"] == 5, made.info

job = call("v1_jobs_post", {"endpoint": "txt2img", "input": picture}, wait=60)
assert job.status == "completed", job
pictures = call("v1_images_generations_post", {"prompt": "a cat", "size": "64x64"})
assert len(pictures.data) == 1 and pictures.output_format == "png", pictures
names = [s.name for s in call("sdapi_v1_samplers_get")]
assert "Euler a" in names, names
print("ok")
