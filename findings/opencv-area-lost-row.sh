#!/usr/bin/env bash
# opencv-python-headless 4.10.0: INTER_AREA that enlarges repeats whole source rows and gives the last of each output row that
# falls between two a share of the next. Where an output row begins exactly on a source row, it may get the one before: the place is
# computed as row * (1 / (224/200)), which is a hair below 125 for row 140. From 200 to 224 rows, the size that CLIP wants, row 124
# then fills two rows, and row 125 has none of its own.
#
# Expected: output row 140 is source row 124, not 125; 28 rows later, at 168, it is source row 150 as it should be.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==4.10.0.84 numpy==1.26.4
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import cv2
import numpy as np

rows = np.arange(200, dtype=np.float32).reshape(200, 1)  # each row holds its number
out = cv2.resize(rows, (1, 224), interpolation=cv2.INTER_AREA)[:, 0]
print("output row: source row, where 224 rows begin exactly on one of 200")
for i in range(0, 224, 28):
    print(f"  {i}: {out[i]:g}, by arithmetic {i * 200 // 224}")
wrong = [i for i in range(0, 224, 28) if out[i] != i * 200 // 224]
whole = np.unique(out[out == np.round(out)])
print(f"row 125 stands alone in some output row: {125 in whole}")
sys.exit(0 if wrong == [140] and out[140] == 124 and 125 not in whole else "the behaviour has changed")
PYTHON
