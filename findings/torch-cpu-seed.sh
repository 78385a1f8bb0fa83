#!/usr/bin/env bash
# torch 2.15.0: a generator on the CPU takes a seed of 64 bits and tells it by initial_seed(), but draws by its lower 32 bits alone: seeds that
# differ by 2**32 give the same noise, and so the same picture. The limits of what it takes are those of 64 bits, too.
#
# Expected: the noise of seed 1 is that of 2**32 + 1 and of 2**40 + 1, not that of 2; 2**64 is refused.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import torch


def noise(seed):
    """The noise of a seed, and the seed that the generator tells."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(4, 64, 64, generator=generator), generator.initial_seed()


first, _ = noise(1)
same = {}
for seed in (2, 2**32 + 1, 2**40 + 1, 2**64 - 2**32 + 1):
    x, told = noise(seed)
    same[seed] = torch.equal(x, first)
    print(f"seed {seed}: initial_seed() {told}, {'the noise of seed 1' if same[seed] else 'other noise'}")
try:
    noise(2**64)
    refused = False
except (ValueError, RuntimeError, OverflowError) as error:
    refused = True
    print(f"seed {2**64}: {error}")
sys.exit(0 if list(same.values()) == [False, True, True, True] and refused else "the behaviour has changed")
PYTHON
