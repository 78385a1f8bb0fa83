"""Writes regions.json: what Regional Prompter and Latent Couple make of prompts and arguments, by running their code.

    pip install torch numpy opencv-python-headless pillow packaging
    git clone https://github.com/hako-mikan/sd-webui-regional-prompter prompter   # be62345
    git clone https://github.com/opparco/stable-diffusion-webui-two-shot couple   # 9936c52
    python record.py prompter couple

The modules of the web UI are stand-ins; torchvision's Resize with the nearest pixel is torch's interpolate.
"""

import base64
import importlib.util
import io
import json
import os
import sys
import types
from unittest.mock import MagicMock

import numpy as np
import torch
from PIL import Image, ImageDraw  # noqa: F401

sys.dont_write_bytecode = True
for name in ("launch", "gradio", "gradio.components", "modules", "modules.ui", "modules.scripts", "modules.processing", "modules.script_callbacks", "modules.paths", "modules.shared",
             "modules.extra_networks", "modules.prompt_parser", "modules.launch_utils", "modules.devices", "modules.sd_hijack", "torchvision", "torchvision.transforms", "scripts.attention"):
    sys.modules[name] = MagicMock()
modules = sys.modules["modules"]
for name in ("ui", "scripts", "processing", "script_callbacks", "paths", "shared", "extra_networks", "prompt_parser", "launch_utils", "devices", "sd_hijack"):
    setattr(modules, name, sys.modules["modules." + name])
sys.modules["gradio"].__version__ = "3.41.2"
sys.modules["gradio"].Checkbox = object
sys.modules["gradio.components"].FormComponent = object
modules.scripts.Script = object
modules.scripts.basedir = lambda: "/nonexistent"
modules.paths.script_path = modules.paths.data_path = "/nonexistent"
modules.launch_utils.git_tag = lambda: "v1.9.3"
sys.modules["launch"].git_tag = lambda: "v1.9.3"
modules.devices.device = "cpu"
modules.extra_networks.parse_prompt = lambda text: (text, {})
modules.prompt_parser.get_learned_conditioning_prompt_schedules = lambda texts, steps: [[[steps, texts[0]]]]
modules.shared.sd_model.cond_stage_model.tokenize_line = lambda text: ([], len(text.split()))
modules.shared.sd_model.is_sdxl = False


class Resize:
    def __init__(self, size, interpolation=None):
        self.size = size

    def __call__(self, x):
        return torch.nn.functional.interpolate(x.float(), size=self.size, mode="nearest")


sys.modules["torchvision.transforms"].Resize = Resize
prompter, couple = sys.argv[1:]
sys.path.insert(0, prompter)
import scripts.latent as latent  # noqa: E402
import scripts.regions as regions  # noqa: E402
import scripts.rp as rp  # noqa: E402

rp.savepresets = lambda *_: None
rp.hook_forwards = lambda *_, **__: None
rp.setuploras = lambda *_: None
rp.unloadlorafowards = lambda *_: None

spec = importlib.util.spec_from_file_location("two_shot", os.path.join(couple, "scripts/two_shot.py"))
two_shot = importlib.util.module_from_spec(spec)
spec.loader.exec_module(two_shot)


def packed(cells):
    return base64.b64encode(cells.astype("<f4").tobytes()).decode()


def mask(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def rectangles(h, w, *boxes):
    m = np.full((h, w, 3), 255, np.uint8)
    for (y0, x0, y1, x1), colour in boxes:
        m[y0:y1, x0:x1] = colour
    return m


# The first colours, one as a lossy picture has it, and one of no region.
COLOURS = [(128, 64, 64), (64, 128, 128), (96, 128, 64), (96, 64, 128)]
MASKS = {
    "two": rectangles(48, 40, ((0, 0, 24, 20), COLOURS[0]), ((24, 10, 48, 40), COLOURS[1])),
    "four": rectangles(32, 64, ((0, 0, 16, 32), COLOURS[0]), ((0, 32, 16, 64), COLOURS[1]), ((16, 0, 32, 20), COLOURS[2]), ((16, 20, 32, 30), COLOURS[3]), ((20, 40, 30, 60), (200, 10, 10))),
    "lossy": rectangles(20, 20, ((0, 0, 20, 9), (129, 65, 65)), ((0, 9, 20, 12), (127, 64, 64)), ((0, 12, 10, 20), (63, 127, 127))),
}

cases = []


def prompter_case(prompt, ratios="1,1", bases="0.2", sub="Columns", negative="bad", base=False, common=False, negcommon=False, options=(), flip=False, masked=""):
    script = rp.Script()
    p = types.SimpleNamespace(prompt=prompt, negative_prompt=negative, all_prompts=[prompt], all_negative_prompts=[negative], extra_generation_params={}, height=64, width=80, batch_size=1,
                              sampler_name="Euler", steps=20, script_args=[], sd_model=modules.shared.sd_model)
    case = {"prompt": prompt, "negative": negative, "ratios": ratios, "bases": bases, "sub": sub, "base": base, "common": common, "negcommon": negcommon, "options": list(options), "flip": flip, "mask": masked}
    regions.REGUSE = {}
    regions.VARIANT = 0
    args = [True, False, "Mask" if masked else "Matrix", sub, "Mask", "Prompt", ratios, bases, base, common, negcommon, "Latent", list(options), "0", "0", "0.4",
            mask(MASKS[masked]) if masked else None, "0", "0", flip]
    script.process(p, *args)
    if masked:
        case["png"] = mask(MASKS[masked])
    case["texts"] = [p.all_prompts[0], p.all_negative_prompts[0]]
    case["infotext"] = {k: str(v) for k, v in p.extra_generation_params.items()}
    case["areas"] = []
    for h, w in ((8, 10), (13, 9)):
        masks = (script.regmasks, script.regbase) if masked else script.aratios
        found = latent.makefilters(1, h, w, masks, script.mode, script.usebase, script.bratios, bool(masked))
        case["areas"].append({"h": h, "w": w, "cells": [packed(f[0].numpy()) for f in found]})
    cases.append({"prompter": case})


prompter_case("red BREAK blue")
prompter_case("a red BREAK a blue BREAK a green", "1,2,1")
prompter_case("a red BREAK a blue BREAK a green", "1,2,1", sub="Rows")
prompter_case("a red BREAK a blue BREAK a green", "3,1,1", sub="Vertical")
prompter_case("a red BREAK a blue BREAK a green", "3,1,1", sub="Horizontal")
prompter_case("all BREAK red BREAK blue", "1,1", base=True)
prompter_case("all ADDBASE red BREAK blue", "1,3", "0.2,0.6")
prompter_case("all ADDBASE red BREAK blue", "1,3", "0.2,0.6", sub="Rows")
prompter_case("all ADDCOMM red BREAK blue", "1,1", negative="bad ADDCOMM worse BREAK worst")
prompter_case("all BREAK red BREAK blue", "1,1", common=True, negcommon=True, negative="bad BREAK worse BREAK worst")
prompter_case("all BREAK scene BREAK red BREAK blue", "1,1", "0.5", common=True, base=True)
prompter_case("all ADDCOMM scene ADDBASE red BREAK blue", "2,1", "")
prompter_case("sky ADDROW hills ADDCOL town ADDROW sea", "2,1;1,1,3;1,1")
prompter_case("sky ADDROW hills ADDCOL town ADDROW sea", "2,1;1,1,3;1,1", sub="Rows")
prompter_case("sky BREAK hills BREAK town BREAK sea", "1,1;1,1,3;1,1")
prompter_case("sky BREAK hills BREAK town BREAK sea", "1;1,1,2;1,1", sub="Rows")
prompter_case("sky BREAK hills BREAK town BREAK sea", "1;1,1,2;1,1", flip=True)
prompter_case("a ADDCOL b ADDCOL c", "1,2,1")
prompter_case("a ADDCOL b ADDCOL c", "1,2,1", sub="Rows")
prompter_case("a ADDROW b ADDROW c", "1,2,1")
prompter_case("a ADDROW b ADDROW c", "1,2,1", sub="Rows")
prompter_case("a ADDCOL b ADDCOL c", "3,1")
prompter_case("a ADDROW b ADDROW c ADDCOL d", "1,1")
prompter_case("blue sky ADDCOL hair ADDCOL aquarium ADDROW desk ADDCOL sofa", "1,2,1,1;2,4,6")
prompter_case("all ADDBASE a ADDCOL b ADDROW c ADDCOL d", "1,1,1;1,1,1", "0.1,0.2;0.3,0.4")
prompter_case("red AND blue", "1,1")
prompter_case("red AND blue", "1,1,1", options=["disable convert 'AND' to 'BREAK'"])
prompter_case("red BREAK more ADDCOL blue BREAK less", "1,1", options=["Use BREAK to change chunks"])
prompter_case("all ADDCOMM red BREAK blue", "1,1", options=["Flip prompts"])
prompter_case("red # not\nwarm\n# nothing\n BREAK blue", "1,1", options=["Comment Out `#`"])
prompter_case("red BREAK blue BREAK ", "x,1,")
prompter_case("all ADDCOMM red", "1,1")
prompter_case("red BREAK blue", masked="two")
prompter_case("all ADDBASE red BREAK blue", bases="0.3,0.4", masked="two")
prompter_case("a BREAK b BREAK c BREAK d", masked="four")
prompter_case("a BREAK b", masked="four")
prompter_case("all BREAK a BREAK b BREAK c BREAK d", bases="0.25", base=True, masked="four")
prompter_case("all BREAK scene BREAK a BREAK b", bases="0.25", base=True, common=True, masked="lossy")
prompter_case("a BREAK b", masked="lossy")

for divisions, positions, weights in [("1:1,1:2,1:2", "0:0,0:0,0:1", "0.2,0.8,0.8"), ("1:1,4:3,4:3", "0:0,1-3:0,0-2.5:1-3", "0.5,1,0.75"), ("2:2,2:2", "0:0.5,1:0", "1,1,1"), ("1:1", "0:0", "1")]:
    script = two_shot.Script()
    p = types.SimpleNamespace(batch_size=2, extra_generation_params={})
    script.process(p, True, divisions, positions, weights, 20)
    case = {"divisions": divisions, "positions": positions, "weights": weights, "text": p.extra_generation_params["Latent Couple"], "areas": []}
    for h, w in ((8, 10), (13, 9)):
        case["areas"].append({"h": h, "w": w, "cells": [packed(f.create_tensor(1, h, w)[0].numpy()) for f in script.filters]})
    # One step of two images: the callback of the extension, then A1111's sum over the parts.
    rng = np.random.default_rng(7)
    parts = len(script.filters) + 1
    h, w, scale = 8, 10, 7.5
    x = torch.tensor(rng.standard_normal((2 * parts + 2, 4, h, w)).astype("f4"))
    own = [round(0.5 + 0.25 * i, 2) for i in range(parts)]
    case["step"] = {"h": h, "w": w, "scale": scale, "weights": own, "rows": packed(x.numpy())}
    script.denoised_callback(types.SimpleNamespace(x=x, sampling_step=0))
    combined = x[-2:].clone()
    for image in range(2):
        for i in range(parts):
            combined[image] += (x[image * parts + i] - x[2 * parts + image]) * (own[i] * scale)
    case["step"]["combined"] = packed(combined.numpy())
    cases.append({"couple": case})

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "regions.json"), "w") as f:
    json.dump({"about": "Regional Prompter be62345 and Latent Couple 9936c52, see record.py; areas are float32 [h,w]", "cases": cases}, f, indent=None, separators=(",", ":"))
    f.write("\n")
