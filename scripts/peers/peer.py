"""Runs Stable Diffusion 1.5's UNet and VAE decoder, with random weights, in PyTorch or OpenVINO.

    peer.py pytorch|openvino [--threads N] [--cache FOLDER]

`worker bench --peers` starts one process for each framework and speaks JSON lines with it. The first line that
is written tells what runs here:

    {"name": "PyTorch", "version": "2.15.0", "notes": "f32, channels last, ..."}

A request prepares a network for one shape, runs it once, or lets it go; it gets one line back:

    {"do": "prepare", "network": "unet", "width": 512, "height": 512, "rows": 2}   {"seconds": 12.3, "cpu_seconds": 20.1}
    {"do": "run"}                                                                  {"seconds": 10.1, "cpu_seconds": 20.0}
    {"do": "release"}                                                              {"seconds": 0.1, "cpu_seconds": 0.1}

What goes wrong is {"error": "..."}. Everything else that is said goes to the error output. The process ends when its
input ends.
"""

import argparse
import gc
import json
import os
import sys
import time

# diffusers' names for the configuration of the original; nothing is downloaded.
UNET = dict(
    sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    attention_head_dim=8, cross_attention_dim=768, norm_num_groups=32,
)
VAE = dict(
    in_channels=3, out_channels=3, latent_channels=4, sample_size=512, layers_per_block=2,
    block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=32,
)


def inputs(network, width, height, rows):
    import torch

    latent = torch.linspace(-1, 1, rows * 4 * (height // 8) * (width // 8)).reshape(rows, 4, height // 8, width // 8)
    if network == "decoder":
        return (latent,)
    context = torch.linspace(-1, 1, rows * 77 * 768).reshape(rows, 77, 768)
    return (latent, torch.full((rows,), 500.0), context)


def module(network):
    import diffusers
    import torch

    torch.manual_seed(0)

    class UNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = diffusers.UNet2DConditionModel(**UNET)

        def forward(self, latent, timestep, context):
            return self.unet(latent, timestep, context, return_dict=False)[0]

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = diffusers.AutoencoderKL(**VAE)
            del self.vae.encoder, self.vae.quant_conv

        def forward(self, latent):
            return self.vae.decode(latent, return_dict=False)[0]

    if network not in ("unet", "decoder"):
        raise ValueError(f"unknown network {network!r}")
    made = UNet() if network == "unet" else Decoder()
    return made.float().eval()


class PyTorch:
    name = "PyTorch"

    def __init__(self, threads, cache):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.version = torch.__version__
        self.notes = f"f32, channels last, {threads} threads, {torch.backends.cpu.get_cpu_capability()}"
        self.modules = {}

    def prepare(self, network, width, height, rows):
        import torch

        if network not in self.modules:
            self.modules.clear()
            self.modules[network] = module(network).to(memory_format=torch.channels_last)
        first, *rest = inputs(network, width, height, rows)
        self.inputs = [first.to(memory_format=torch.channels_last), *rest]
        self.run = lambda: self.modules[network](*self.inputs)

    def release(self):
        self.run = None


class OpenVINO:
    name = "OpenVINO"

    def __init__(self, threads, cache):
        import openvino

        self.core = openvino.Core()
        # Where a processor has bf16 or f16, OpenVINO would use them by default.
        self.settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self.cache = cache
        self.version = openvino.__version__
        self.notes = f"f32, {threads} threads"

    def model(self, network):
        """The network in OpenVINO's form. Conversion takes a minute, so it is kept in a file."""
        import openvino

        path = os.path.join(self.cache, f"{network}-{self.version.split('-')[0]}.xml")
        if not os.path.exists(path):
            example = inputs(network, 256, 256, 2 if network == "unet" else 1)
            model = openvino.convert_model(module(network), example_input=example)
            os.makedirs(self.cache, exist_ok=True)
            openvino.save_model(model, path.replace(".xml", ".new.xml"))
            for ending in ("bin", "xml"):
                os.replace(path.replace(".xml", f".new.{ending}"), path.replace("xml", ending))
            del model
            gc.collect()
        return self.core.read_model(path)

    def prepare(self, network, width, height, rows):
        self.release()
        values = [t.numpy() for t in inputs(network, width, height, rows)]
        model = self.model(network)
        model.reshape({i: v.shape for i, v in enumerate(values)})
        compiled = self.core.compile_model(model, "CPU", self.settings)
        precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        if precision.get_type_name() != "f32":
            raise RuntimeError(f"OpenVINO computes in {precision}")
        request = compiled.create_infer_request()
        self.run = lambda: request.infer(values, share_inputs=True)

    def release(self):
        self.run = None
        gc.collect()


def answer(framework, request):
    start, cpu = time.perf_counter(), time.process_time()
    do = request.pop("do")
    if do == "prepare":
        framework.prepare(**request)
    elif do == "run":
        framework.run()
    elif do == "release":
        framework.release()
    else:
        raise ValueError(f"unknown request {do!r}")
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def main():
    # What libraries print must not come between the lines.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    arguments = argparse.ArgumentParser()
    arguments.add_argument("framework", choices=["pytorch", "openvino"])
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--cache", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "cache"))
    o = arguments.parse_args()

    def say(reply):
        print(json.dumps(reply), file=out, flush=True)

    try:
        framework = {"pytorch": PyTorch, "openvino": OpenVINO}[o.framework](o.threads, o.cache)
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise
    say({"name": framework.name, "version": framework.version, "notes": framework.notes})
    for line in sys.stdin:
        try:
            say(answer(framework, json.loads(line)))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
