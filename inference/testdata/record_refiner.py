"""Writes refiner.json: after how many calls of the UNet a refiner takes over.

python record_refiner.py
The rule: a call belongs to the refiner when the part of the run that is done has reached
the switch point. By training timesteps that is (999 - t) / 1000, t being the timestep
whose noise level is nearest to the call's (DDIM: its timestep); by sampling steps it is
the number of calls so far by those that the run counts, twice its steps for samplers of
second order. A run that starts from a picture has int(strength * steps) + 1 steps.
"""
import json
import math
import os

betas = [(0.00085 ** 0.5 + i / 999 * (0.012 ** 0.5 - 0.00085 ** 0.5)) ** 2 for i in range(1000)]
levels, product = [], 1.0
for beta in betas:
    product *= 1 - beta
    levels.append(math.sqrt((1 - product) / product))


def spaced(steps):
    """The default schedule: noise levels of evenly spaced timesteps."""
    out = []
    for i in range(steps):
        t = 999 * (1 - i / (steps - 1)) if steps > 1 else 999
        low = math.floor(t)
        high, part = min(low + 1, 999), t - low
        out.append(math.exp((1 - part) * math.log(levels[low]) + part * math.log(levels[high])))
    return out + [0.0]


def karras(steps):
    first, last, rho = levels[-1] ** (1 / 7), levels[0] ** (1 / 7), 7
    return [(first + i / (steps - 1) * (last - first)) ** rho for i in range(steps)] + [0.0]


def nearest(level):
    return min(range(1000), key=lambda t: (abs(levels[t] - level), t))


def calls(sampler, scheduler, steps, strength):
    """The timestep of each call of a run, and the number of calls that it counts."""
    encoded = steps if strength is None else int(min(strength, 0.999) * steps)
    if sampler == "DDIM":
        ts = [min(t + 1, 999) for t in range(0, 1000, 1000 // steps)]
        ts = ts if strength is None else ts[:encoded]
        return ts[:0:-1], steps if strength is None else encoded + 1
    sigmas = {"Automatic": spaced, "Karras": karras}[scheduler](steps)
    if strength is not None:
        sigmas = sigmas[steps - encoded - 1:]
    count = len(sigmas) - 1
    if sampler == "Heun":
        visited = []
        for now, then in zip(sigmas, sigmas[1:]):
            visited += [now, then] if then > 0 else [now]
        return [nearest(s) for s in visited], 2 * count
    return [nearest(s) for s in sigmas[:-1]], count


cases = []
for sampler, scheduler in (("Euler", "Automatic"), ("Euler", "Karras"), ("Heun", "Automatic"), ("DDIM", "Automatic")):
    for steps in (7, 20):
        for strength in (None, 0.6):
            for by_steps in (False, True):
                for at in (0.0, 0.3, 0.5, 0.8, 1.0):
                    timesteps, counted = calls(sampler, scheduler, steps, strength)
                    done = [i / counted if by_steps else (999 - t) / 1000 for i, t in enumerate(timesteps)]
                    before = next((i for i, d in enumerate(done) if d >= at), len(done))
                    cases.append({"sampler": sampler, "scheduler": scheduler, "steps": steps, "strength": strength, "by_steps": by_steps, "at": at,
                                  "before": before, "after": len(done) - before})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "refiner.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
