"""Records what the original networks give for a small picture: random weights, narrow
layers, spandrel's definitions of RRDB (Real-ESRGAN), SRVGG and SPAN.

Writes a .pth for each, as their trainers save them, and enlarged.json.

    pip install spandrel==0.4.2 torch
    python record.py
"""

import base64
import json
import pathlib

import torch
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN.__arch import RRDB
from spandrel.architectures.SPAN.__arch.span import SPAN

HERE = pathlib.Path(__file__).parent
torch.manual_seed(3)
torch.set_num_threads(1)


def text(t):
    return base64.b64encode(t.numpy().astype("float32").tobytes()).decode()


def basicsr(state):
    """Renames RRDB's tensors from the first code's names, which spandrel goes by, to BasicSR's."""
    last = max(int(k.split(".")[1]) for k in state)
    tail = {0: "conv_first", 3: "conv_up1", 6: "conv_up2", 8: "conv_hr", 10: "conv_last"} if last == 10 else {0: "conv_first", 3: "conv_up1", 5: "conv_hr", 7: "conv_last"}
    out = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[1] != "1":
            out[tail[int(parts[1])] + "." + parts[-1]] = value
        elif "RDB" in key:
            out[f"body.{parts[3]}.{parts[4].lower()}.{parts[5]}.{parts[-1]}"] = value
        else:
            out["conv_body." + parts[-1]] = value
    return out


wide = RRDB.B.RRDB
RRDB.B.RRDB = lambda nf, kernel_size, gc, **more: wide(nf=nf, kernel_size=kernel_size, gc=4, **more)  # narrow dense blocks


def main():
    picture = torch.rand(1, 3, 14, 10)
    nets = {
        "rrdb-x4.pth": (RRDB.RRDBNet(in_nc=3, out_nc=3, num_filters=8, num_blocks=2, scale=4), "params_ema"),
        "rrdb-x2plus.pth": (RRDB.RRDBNet(in_nc=12, out_nc=3, num_filters=8, num_blocks=2, scale=4, shuffle_factor=2), "params_ema"),
        "compact-x4.pth": (Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=3, upscale=4, act_type="prelu"), "params"),
        "span-x2.pth": (SPAN(num_in_ch=3, num_out_ch=3, feature_channels=4, upscale=2), "params"),
        "span-plain-x4.pth": (SPAN(num_in_ch=3, num_out_ch=3, feature_channels=4, upscale=4, norm=False), "params"),
    }
    later = {  # drawn behind the others, whose files stay as they are
        "compact-x1.pth": lambda: (Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=3, upscale=1, act_type="prelu"), "params"),
    }
    cases = []
    for name in [*nets, *later]:
        net, key = nets[name] if name in nets else later[name]()
        for p in net.parameters():
            if p.dim() == 1:
                p.data.uniform_(-0.2, 0.3)
            else:
                p.data.mul_(1.5)
        net.eval()
        with torch.no_grad():
            out = net(picture)[0]
        state = {k: v.half().float() for k, v in net.state_dict().items()}
        net.load_state_dict(state)
        with torch.no_grad():
            out = net(picture)[0]
        if name.startswith("rrdb"):
            state = basicsr(state)
        torch.save({key: {k: v.half() for k, v in state.items()}}, HERE / name)
        cases.append({"file": name, "factor": out.shape[1] // 14, "want": text(out)})
        print(name, out.shape, float(out.abs().max()), (HERE / name).stat().st_size)
    about = "pictures of 0..1 [3,rows,columns] as float32, enlarged by the networks of the files"
    (HERE / "enlarged.json").write_text(json.dumps({"about": about, "height": 14, "width": 10, "picture": text(picture[0]), "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
