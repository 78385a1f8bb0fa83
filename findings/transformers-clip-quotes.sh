#!/usr/bin/env bash
# transformers 5.24.0: CLIPTokenizer with the vocabulary of CLIP gives other tokens than that of 4.30.2 for a prompt typed on a phone. Until
# version 5 a slow tokenizer repaired texts with ftfy where that is installed, as CLIP was trained: curly quotes became straight ones,
# ligatures letters, broken UTF-8 whole. Now the class of that name is the fast one, which does none of it, with ftfy installed or not.
#
# Expected: "don't" is the same in both, "don’t" is "don't" in 4.30.2 alone, and an "é" that was decoded wrongly is repaired there alone.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for version in 4.30.2 5.24.0; do
	python3 -m venv "$version"
	"$version/bin/pip" install --quiet --disable-pip-version-check transformers==$version ftfy==6.3.1
done
5.24.0/bin/pip download --quiet --disable-pip-version-check --no-deps open_clip_torch==3.2.0
cat >read.py <<'PYTHON'
import glob, gzip, json, sys, zipfile
from transformers import CLIPTokenizer, __version__

# The vocabulary as OpenAI published it: bytes, bytes that end a word, merges, two marks.
wheel = zipfile.ZipFile(glob.glob("open_clip_torch-*.whl")[0])
merges = gzip.decompress(wheel.read("open_clip/bpe_simple_vocab_16e6.txt.gz")).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
other = [b for b in range(256) if b not in printable]
letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(other))]
words = letters + [x + "</w>" for x in letters] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
with open("vocab.json", "w") as f:
    json.dump({w: i for i, w in enumerate(words)}, f)
with open("merges.txt", "w") as f:
    f.write("#version: 0.2\n" + "\n".join(merges) + "\n")
with open("tokenizer_config.json", "w") as f:
    json.dump({"tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>"}, f)
tokenizer = CLIPTokenizer.from_pretrained(".")
print(json.dumps([tokenizer([x], add_special_tokens=False)["input_ids"][0] for x in sys.argv[1:]]))
PYTHON
texts=("don't" "don’t" "Ã©")
old=$(4.30.2/bin/python read.py "${texts[@]}" 2>/dev/null)
new=$(5.24.0/bin/python read.py "${texts[@]}" 2>/dev/null)
echo "tokens of ${texts[*]}"
echo "4.30.2: $old"
echo "5.24.0: $new"
[[ $old == "[[847, 713], [847, 713], [4166]]" && $new == "[[847, 713], [847, 728, 503, 339], [127, 352, 5811]]" ]] || {
	echo "the behaviour has changed" >&2
	exit 1
}
