#!/usr/bin/env bash
# opencv-python-headless 4.9.0: INTER_AREA, "resampling using pixel area relation", averages only when both sides shrink. As soon as
# one side grows, even by one pixel, the other side is no longer averaged either: stripes of one pixel that shrink to a tenth
# become the colour of one of them instead of grey.
#
# Expected: the mean 127.5 of the stripes when the height stays, and something far from it when the height grows by one row.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.9.0.80 numpy==1.26.4
"$dir/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np

stripes = np.zeros((10, 200), np.uint8)
stripes[:, 1::2] = 255
same = cv2.resize(stripes, (20, 10), interpolation=cv2.INTER_AREA)
taller = cv2.resize(stripes, (20, 11), interpolation=cv2.INTER_AREA)
print(f"200x10 to 20x10: {same.min()} to {same.max()}; to 20x11: {taller.min()} to {taller.max()}")
sys.exit(0 if abs(float(same.mean()) - 127.5) <= 1 and abs(float(taller.mean()) - 127.5) > 50 else "the behaviour has changed")
PYTHON
