"""Drives a server with the package webuiapi: webuiapi_client.py PORT

The server has a checkpoint "other" beside the one in use, a ControlNet "canny", a VAE and an embedding.
"""

import sys

import webuiapi
from PIL import Image

api = webuiapi.WebUIApi(host="127.0.0.1", port=int(sys.argv[1]), sampler="Euler a", steps=2)

result = api.txt2img(prompt="a cat", negative_prompt="dog", seed=7, width=64, height=64, cfg_scale=6.5, styles=[], batch_size=2)
assert [i.size for i in result.images] == [(64, 64)] * 2, result.images
assert result.info["all_seeds"] == [7, 8], result.info
assert result.parameters["steps"] == 2
assert result.image.info["parameters"].startswith("a cat\nNegative prompt: dog\nSteps: 2, Sampler: Euler a"), result.image.info

hires = api.txt2img(prompt="a cat", width=64, height=64, enable_hr=True, hr_scale=2, hr_upscaler=webuiapi.HiResUpscaler.Latent, denoising_strength=0.5)
assert hires.image.size == (128, 128)

init = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
mask = Image.new("RGB", (64, 64), "white")
result = api.img2img(images=[init], mask_image=mask, prompt="a dog", width=64, height=64, inpaint_full_res=False, denoising_strength=0.5)
assert len(result.images) == 1 and result.parameters["init_images"] is None

[canny] = api.controlnet_model_list()
assert canny.startswith("canny ["), canny
unit = webuiapi.ControlNetUnit(image=init.convert("RGB"), module="none", model=canny)
result = api.txt2img(prompt="a cat", width=64, height=64, controlnet_units=[unit])
assert len(result.images) == 2, len(result.images)
# The unit sits in a shared default of the client, which it empties for servers that name the script "controlnet m2m".
result = api.txt2img(prompt="a cat", width=64, height=64)
assert len(result.images) == 1, len(result.images)
assert "ControlNet" not in result.image.info["parameters"], result.image.info

assert api.extra_single_image(image=init, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2).image.size == (128, 128)
assert len(api.extra_batch_images(images=[init, init], upscaler_1="Nearest", upscaling_resize=2).images) == 2
assert api.png_info(hires.image).info.startswith("a cat\nSteps: 2")
assert api.interrogate(init).info == "<error>"

assert api.interrupt() == {}
api.skip()
options = api.get_options()
api.set_options({"send_seed": not options["send_seed"]})
assert api.get_options()["send_seed"] != options["send_seed"]
assert api.get_progress()["state"]["job_count"] == 0
api.util_wait_for_ready(check_interval=0.01)
assert len(api.get_cmd_flags()) == 125
assert "Euler a" in api.util_get_sampler_names()
assert "karras" in api.util_get_scheduler_names()
assert api.get_sd_vae()[0]["model_name"]
for ask in (api.get_upscalers, api.get_latent_upscale_modes, api.get_loras, api.get_sd_models, api.get_face_restorers, api.get_scripts,
            api.get_embeddings, api.get_memory, api.get_schedulers):
    assert ask(), ask
for ask in (api.get_hypernetworks, api.get_realesrgan_models, api.get_prompt_styles, api.refresh_checkpoints):
    ask()
api.util_set_model("other")
assert api.util_get_current_model().startswith("other"), api.util_get_current_model()
assert api.controlnet_version() == 2
assert "canny" in api.controlnet_module_list()
assert api.controlnet_detect(images=[init.convert("RGB")], module="canny").image.size == (512, 512)

try:
    api.txt2img(prompt="x", sampler_name="Nope")
    raise AssertionError("an unknown sampler must fail")
except RuntimeError as e:
    assert "Sampler not found" in str(e), e
print("ok")
