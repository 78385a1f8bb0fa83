"""Writes xyz_values.json: what values of X/Y/Z plot's axes are, by the rules that
docs/compatibility.md names, computed with numpy and Python's csv.

pip install numpy; python xyz_values.py
"""
import csv
import json
import os
import re
from io import StringIO
from itertools import chain

import numpy as np

NUMBER = r"([+-]?\s*\d+)"
REAL = r"([+-]?\s*\d+(?:.\d*)?)"


def values(kind, text):
    out = []
    for value in map(str.strip, chain.from_iterable(csv.reader(StringIO(text), skipinitialspace=True))):
        if kind == "str":
            out.append(value)
            continue
        number, part = (int, NUMBER) if kind == "int" else (float, REAL)
        step = re.fullmatch(rf"\s*{part}\s*-\s*{part}(?:\s*\(([+-]\d+{'' if kind == 'int' else '(?:.[0-9]*)?'})\s*\))?\s*", value)
        count = re.fullmatch(rf"\s*{part}\s*-\s*{part}(?:\s*\[(\d+)\s*\])?\s*", value)
        if step:
            a, b, s = number(step[1]), number(step[2]), number(step[3]) if step[3] else 1
            out += list(range(a, b + 1, s)) if kind == "int" else np.arange(a, b + s, s).tolist()
        elif count:
            line = np.linspace(start=number(count[1]), stop=number(count[2]), num=int(count[3])).tolist()
            out += [int(x) for x in line] if kind == "int" else line
        else:
            out.append(number(value))
    return out


cases = [("int", t) for t in ["1", "1,2,3", " 4 , 5 ", "1-5", "1-5 (+2)", "1 - 6 (+3)", "5-1 (-1)", "10-1 (-3)", "1-10 [5]", "3-3 [1]", "1-2 [4]", "7-9,1-3 [2],5", '"1","2"']]
cases += [("float", t) for t in ["1", "1.5,2", "1-3", "1-3 (+0.5)", "0.1-0.5 (+0.1)", "3-1 (-0.5)", "0-1 [3]", "1-2 [7]", "0.5-0.5 [1]", "2-1 [3]", "1e1,2", "7.0-8.5 (+0.7)"]]
cases += [("str", t) for t in ["a,b", ' a , "b, c" ,d', '"a ""b"" c",d', "a\nb,c", "a,,b", '"x', 'a "b" c', '"a\nb",c', "日本,中国"]]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "xyz_values.json"), "w") as f:
    rows = [json.dumps({"kind": k, "text": t, "want": values(k, t)}, ensure_ascii=False) for k, t in cases]
    f.write('{"about": "Values of an axis: its type, the text, what it stands for.", "cases": [\n' + ",\n".join(rows) + "\n]}\n")
