"""What the constructed text encoder tells the UNet about a prompt.

The encoder of the demo model is built, not trained: it has CLIP ViT-L/14's shape, its token
embeddings hold codes and flags, and three of its layers copy codes from token to token. This
module is the short form of it, by rules: which 256 numbers of each token's output the UNet
reads. models/demo builds the real encoder from the same codes, and a test there compares both.

The rules. A token's colour is that of the nearest colour word at or before it with no barrier
(an article, a preposition, a comma ...) in between. The first object is the earliest object
word; the second is the earliest object word after a separator ("and", a comma, a preposition)
that stands after some object; the place is the earliest place word. From each token on, the
word and the colour of the first object, of the second one and of the place are known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

import drawings

CODE = 32  # Length of a word or colour code.
READ = 8 * CODE  # Own word, own colour, then word and colour of first object, second object and place.
TOKENS = 77
# Energy of a token before the last LayerNorm, which sets the scale of what the UNet reads.
SCALE = (720 / 768) ** -0.5

COLOUR = "colour"  # The word code of every colour word: by it the UNet finds the one that carries emphasis.
WORDS = [*drawings.OBJECTS, drawings.HIDDEN, "background", *drawings.PLACES, COLOUR]
COLOURS = list(drawings.COLOURS)

OBJECT_SYNONYMS = {
    "cat": "cat cats kitten kitty", "dog": "dog dogs puppy pup hound", "fox": "fox foxes", "bird": "bird birds chick",
    "fish": "fish goldfish", "house": "house houses home cottage hut", "tree": "tree trees", "flower": "flower flowers blossom daisy",
    "car": "car cars auto", "boat": "boat boats ship yacht", "mushroom": "mushroom mushrooms", "star": "star stars",
    drawings.HIDDEN: f"<{drawings.HIDDEN}>",
}
PLACE_SYNONYMS = {
    "background": "background backdrop", "snow": "snow snowy winter", "night": "night nighttime midnight moonlight",
    "meadow": "meadow grass field", "sea": "sea beach ocean", "desert": "desert sand dunes",
}
COLOUR_SYNONYMS = {
    "red": "red scarlet crimson", "orange": "orange", "yellow": "yellow golden", "green": "green", "blue": "blue navy", "purple": "purple violet",
    "pink": "pink", "brown": "brown", "black": "black", "white": "white", "gray": "gray grey silver",
}
SEPARATORS = "and with near beside by on in under over at , + &".split()
BARRIERS = SEPARATORS + "a an the of . ; :".split()


def codes() -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The code for none, the code of each word and that of each colour: orthogonal, of zero sum and norm sqrt(32)."""
    r = np.random.default_rng(7)
    basis = np.concatenate([np.ones((CODE, 1)), r.standard_normal((CODE, CODE - 1))], 1)
    q = (np.linalg.qr(basis)[0].T[1:] * np.sqrt(CODE)).astype(np.float32)
    slots = {w: i for i, w in enumerate([*drawings.OBJECTS, "", "", "background", *drawings.PLACES, drawings.HIDDEN, COLOUR])}
    return q[0], {w: q[slots[w] + 1] for w in WORDS}, {c: q[i + 1] for i, c in enumerate(COLOURS)}


@dataclass
class Token:
    text: str
    weight: float = 1.0


def tokens(prompt: str) -> list[Token]:
    """Words and signs; understands the emphasis (word:1.4) and nothing else of the prompt language."""
    out = []
    for weighted, weight, plain in re.findall(r"\((\S+):([\d.]+)\)|(<\w+>|[a-z]+|\d|[^\sa-z\d]+)", prompt.lower()):
        out.append(Token(weighted, float(weight)) if weighted else Token(plain))
    return out


class Encoder:
    def __init__(self) -> None:
        self.none, self.words, self.colours = codes()
        table = lambda synonyms: {w: key for key, words in synonyms.items() for w in words.split()}
        self.objects, self.places, self.colour_words = table(OBJECT_SYNONYMS), table(PLACE_SYNONYMS), table(COLOUR_SYNONYMS)

    def __call__(self, prompt: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, READ) of start, words and one end token, and how often each stands among the 77."""
        ts = [Token("<start>"), *tokens(prompt)[: TOKENS - 2], Token("<end>")]
        none = self.none
        colour, first, second, place = none, None, None, None
        separated = False
        rows = []
        for t in ts:
            word = self.objects.get(t.text) or self.places.get(t.text) or (COLOUR if t.text in self.colour_words else None)
            if t.text in self.colour_words:
                colour = self.colours[self.colour_words[t.text]]
            elif t.text in BARRIERS or t.text in ("<start>", "<end>"):
                colour = none
            own = self.words[word] if word else none
            if t.text in SEPARATORS and first is not None:
                separated = True
            if t.text in self.objects:
                if first is None:
                    first = (own, colour)
                elif separated and second is None:
                    second = (own, colour)
            elif t.text in self.places and place is None:
                place = (own, colour)
            empty = (none, none)
            rows.append(np.concatenate([own, colour, *(first or empty), *(second or empty), *(place or empty)]) * (SCALE * t.weight))
        # The mean of all outputs is kept under emphasis, and is nearly that of the weights.
        rest = TOKENS - len(ts) + 1
        mean = (sum(t.weight for t in ts) + rest - 1) / TOKENS
        counts = np.ones(len(ts), np.float32)
        counts[-1] = rest
        return (np.stack(rows) / mean).astype(np.float32), counts
