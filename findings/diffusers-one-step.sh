#!/usr/bin/env bash
# diffusers 0.42.1: with Stable Diffusion's settings, which name no timestep_spacing, Euler, Euler a, Heun and KDPM2 asked for one step
# begin where the noise ends, at timestep 0 and level 0.03, and scale the start noise to that; DPM++ 2M and UniPC begin at 999. Both call
# it "linspace": the first divide the way from 0 to 999 by N points, of which one alone is 0, the others by N + 1 and leave 0 out.
#
# Expected: one step from timestep 0 and level 0.029, where two steps begin at 999 and 14.6.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 diffusers==0.42.1 transformers==5.24.0 torchsde
"$dir/venv/bin/python" - <<'PYTHON' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import sys
import diffusers

SETTINGS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def start(name, steps):
    """The first timestep, its noise level, and the name of the spacing."""
    scheduler = getattr(diffusers, name).from_config(SETTINGS)
    scheduler.set_timesteps(steps)
    return round(float(scheduler.timesteps[0])), round(float(scheduler.sigmas[0]), 3), scheduler.config.timestep_spacing


low = ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"]
high = ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"]
for name in low + high:
    print(f"{name}: one step begins at {start(name, 1)}, two at {start(name, 2)}")
right = all(start(n, 1) == (0, 0.029, "linspace") and start(n, 2)[0] == 999 for n in low)
right = right and all(start(n, 1) == (999, 14.615, "linspace") for n in high)
sys.exit(0 if right else "the behaviour has changed")
PYTHON
