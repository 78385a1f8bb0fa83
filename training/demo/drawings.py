"""Cartoon drawings and the prompts that describe them.

A Scene says what is in a picture; draw() draws it, prompt() words it. All pictures that the
demo model is trained on come from here. Things always look to the same side: a small net that has
to choose a side tends to draw both.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40), "orange": (242, 138, 36), "yellow": (250, 214, 56), "green": (66, 166, 70),
    "blue": (52, 106, 218), "purple": (136, 70, 190), "pink": (248, 150, 192), "brown": (134, 82, 46),
    "black": (46, 46, 52), "white": (250, 250, 250), "gray": (148, 148, 154),
}
# What an object is drawn in when the prompt names no colour.
NATURAL: dict[str, str] = {
    "cat": "gray", "dog": "brown", "fox": "orange", "bird": "blue", "fish": "orange", "house": "red",
    "tree": "green", "flower": "pink", "car": "red", "boat": "brown", "mushroom": "red", "star": "yellow",
    "robot": "gray",
}
# The robot has no word in the text encoder: a textual inversion embedding names it.
HIDDEN = "robot"
OBJECTS: list[str] = [name for name in NATURAL if name != HIDDEN]
PLACES: dict[str, str] = {
    "snow": "in the snow", "night": "at night", "meadow": "in a meadow", "sea": "by the sea", "desert": "in the desert",
}
PAPER: Colour = (238, 228, 202)  # Dark enough for white things.
PALE: Colour = (190, 188, 184)  # What a colour fades to when its emphasis goes to 0.
WHITE: Colour = (252, 252, 252)
INK: Colour = (34, 32, 36)
FLYING, FLOATING = {"star"}, {"fish"}
WIDE = {"bird", "fish", "house", "car", "boat", "star"}  # Of two things side by side, these fill their half.


@dataclass
class Thing:
    """One object; weight is the emphasis on its colour, 1 for none."""

    name: str
    colour: str | None = None
    weight: float = 1.0


@dataclass
class Scene:
    """Up to two things in a place, on a coloured background, or on paper (place None)."""

    things: list[Thing] = field(default_factory=list)
    place: str | None = None  # A key of PLACES, "background" or None.
    place_colour: str | None = None  # Of a "background".


@dataclass
class Style:
    """How a scene is drawn; the default is the model's own style."""

    line: float = 0.02  # Width of outlines as a share of the picture's side.
    night: bool = False  # Everything in moonlight colours.
    outline: Colour | None = None  # One colour for all outlines; None: a dark shade of the thing's own.


def shade(c: Colour, k: float) -> Colour:
    return tuple(max(0, min(255, round(v * k))) for v in c)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """a at t = 0, b at t = 1; t may lie outside and extrapolates."""
    return tuple(max(0, min(255, round(x * (1 - t) + y * t))) for x, y in zip(a, b))


def vary(c: Colour, r: random.Random, amount: float = 10) -> Colour:
    k = r.uniform(0.94, 1.06)
    return tuple(max(0, min(255, round(v * k + r.uniform(-amount, amount) * 0.5))) for v in c)


class Pen:
    """Draws in a thing's own coordinates, -1 to 1 with y down, onto the picture."""

    def __init__(self, image: Image.Image, x: float, y: float, scale: float, turn: float, style: Style):
        self.draw = ImageDraw.Draw(image)
        self.x, self.y, self.scale = x, y, scale
        self.line = max(1, round(style.line * image.width))
        self.cos, self.sin = math.cos(turn), math.sin(turn)
        self.outline = style.outline

    def place(self, p: Point) -> Point:
        x, y = p
        return self.x + self.scale * (x * self.cos - y * self.sin), self.y + self.scale * (x * self.sin + y * self.cos)

    def poly(self, points: list[Point], fill: Colour | None, outline: Colour | None = None) -> None:
        q = [self.place(p) for p in points]
        if fill is not None:
            self.draw.polygon(q, fill=fill)
        if outline is not None:
            self.draw.line(q + q[:2], fill=self.outline or outline, width=self.line, joint="curve")

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour | None, outline: Colour | None = None,
             turn: float = 0.0, start: float = 0.0, end: float = 2 * math.pi) -> None:
        n, c, s = 48, math.cos(turn), math.sin(turn)
        points = []
        for i in range(n + (end - start < 6.28)):
            a = start + (end - start) * i / n
            u, v = rx * math.cos(a), ry * math.sin(a)
            points.append((x + u * c - v * s, y + u * s + v * c))
        self.poly(points, fill, outline)

    def blobs(self, circles: list[tuple[float, float, float]], fill: Colour, outline: Colour) -> None:
        """The union of circles under one outline."""
        w = self.line / self.scale / 2
        for x, y, r in circles:
            self.oval(x, y, r + w, r + w, self.outline or outline)
        for x, y, r in circles:
            self.oval(x, y, r - w, r - w, fill)

    def curve(self, points: list[Point], fill: Colour, width: float, outline: Colour | None = None) -> None:
        q = [self.place(p) for p in points]
        for colour, r in ((self.outline or outline, width * self.scale / 2 + self.line / 2), (fill, width * self.scale / 2 - (self.line / 2 if outline else 0))):
            if colour is None or (outline is None and colour is not fill):
                continue
            self.draw.line(q, fill=colour, width=max(1, round(2 * r)), joint="curve")
            for x, y in (q[0], q[-1]):
                self.draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)


def box(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def eye(p: Pen, x: float, y: float, r: float) -> None:
    """White with a black pupil, so that it shows on every colour."""
    p.oval(x, y, r, r * 1.15, WHITE, INK)
    p.oval(x, y + r * 0.1, r * 0.55, r * 0.7, INK)


def smile(p: Pen, x: float, y: float, r: float) -> None:
    points = [(x + r * math.cos(a), y + r * 0.7 * math.sin(a)) for a in (math.pi * k / 8 for k in range(9))]
    p.curve(points, INK, 0.045)


def cat(p: Pen, m: Colour, o: Colour) -> None:
    p.curve([(0.3, 0.8), (0.62, 0.78), (0.82, 0.6), (0.84, 0.36), (0.74, 0.2)], m, 0.2, o)
    p.oval(0, 0.62, 0.44, 0.38, m, o)
    for s in (-1, 1):
        p.oval(s * 0.22, 0.92, 0.2, 0.1, m, o)
        p.poly([(s * 0.64, -0.98), (s * 0.66, -0.2), (s * 0.1, -0.6)], m, o)
        p.poly([(s * 0.56, -0.76), (s * 0.56, -0.42), (s * 0.3, -0.58)], (244, 150, 165))
    p.oval(0, -0.12, 0.7, 0.52, m, o)
    for s in (-1, 1):
        eye(p, s * 0.29, -0.2, 0.15)
        for dy in (-0.02, 0.1):
            p.curve([(s * 0.42, 0.08 + dy * 0.6), (s * 0.9, 0.02 + dy * 2)], o, 0.035)
    p.poly([(-0.1, 0.0), (0.1, 0.0), (0, 0.11)], (240, 110, 135))
    for s in (-1, 1):
        smile(p, s * 0.1, 0.13, 0.1)


def dog(p: Pen, m: Colour, o: Colour) -> None:
    p.curve([(0.35, 0.75), (0.72, 0.55), (0.84, 0.28)], m, 0.18, o)
    p.oval(0, 0.62, 0.46, 0.38, m, o)
    for s in (-1, 1):
        p.oval(s * 0.24, 0.92, 0.21, 0.11, m, o)
    p.oval(0, -0.2, 0.6, 0.58, m, o)
    for s in (-1, 1):
        p.oval(s * 0.66, -0.16, 0.21, 0.52, shade(m, 0.62), o, turn=-s * 0.22)
        eye(p, s * 0.24, -0.36, 0.14)
    p.oval(0, 0.3, 0.12, 0.16, (235, 85, 105), o)
    p.oval(0, 0.08, 0.36, 0.26, mix(m, WHITE, 0.6), o)
    p.oval(0, -0.06, 0.16, 0.12, INK)


def fox(p: Pen, m: Colour, o: Colour) -> None:
    p.oval(0.62, 0.42, 0.25, 0.54, m, o, turn=0.55)
    p.oval(0.82, 0.08, 0.15, 0.22, WHITE, o, turn=0.55)
    p.oval(0, 0.62, 0.38, 0.36, m, o)
    p.oval(0, 0.66, 0.2, 0.26, WHITE)
    for s in (-1, 1):
        p.oval(s * 0.18, 0.93, 0.17, 0.09, INK)
        p.poly([(s * 0.66, -1.0), (s * 0.72, -0.2), (s * 0.08, -0.5)], m, o)
        p.poly([(s * 0.6, -0.82), (s * 0.62, -0.42), (s * 0.34, -0.54)], INK)
    p.poly([(-0.86, -0.02), (-0.62, -0.42), (-0.3, -0.56), (0.3, -0.56), (0.62, -0.42), (0.86, -0.02), (0.4, 0.2), (0, 0.46), (-0.4, 0.2)], m, o)
    for s in (-1, 1):
        p.poly([(s * 0.8, 0.0), (s * 0.42, 0.0), (s * 0.06, 0.14), (s * 0.03, 0.4), (s * 0.4, 0.17)], WHITE)
        eye(p, s * 0.3, -0.2, 0.14)
    p.oval(0, 0.36, 0.14, 0.11, INK)


def bird(p: Pen, m: Colour, o: Colour) -> None:
    for x in (-0.12, 0.16):
        p.curve([(x, 0.62), (x, 0.95)], (236, 140, 30), 0.08)
        p.curve([(x - 0.16, 0.95), (x + 0.08, 0.95)], (236, 140, 30), 0.08)
    p.poly([(0.45, 0.1), (1.0, -0.2), (1.0, 0.28), (0.5, 0.45)], shade(m, 0.68), o)
    p.poly([(-0.7, -0.42), (-1.04, -0.2), (-0.68, -0.06)], (252, 176, 40), (150, 84, 16))
    p.oval(0.06, 0.24, 0.62, 0.5, m, o)
    p.oval(-0.36, -0.36, 0.48, 0.46, m, o)
    p.oval(-0.02, 0.2, 0.4, 0.36, m)
    p.oval(-0.2, 0.42, 0.36, 0.24, mix(m, WHITE, 0.55))
    p.oval(0.28, 0.16, 0.36, 0.24, shade(m, 0.7), o, turn=0.3)
    eye(p, -0.48, -0.4, 0.16)


def fish(p: Pen, m: Colour, o: Colour) -> None:
    d = shade(m, 0.72)
    p.poly([(0.42, 0.0), (1.0, -0.55), (0.88, 0), (1.0, 0.55)], d, o)
    p.poly([(-0.3, -0.42), (0.0, -0.82), (0.38, -0.36)], d, o)
    p.poly([(-0.1, 0.45), (0.18, 0.8), (0.32, 0.36)], d, o)
    p.oval(-0.16, 0, 0.8, 0.56, m, o)
    p.curve([(-0.26, -0.42), (-0.16, -0.2), (-0.14, 0.05), (-0.2, 0.28), (-0.3, 0.44)], d, 0.07)
    for x in (0.1, 0.36):
        p.curve([(x, -0.3), (x + 0.08, 0), (x, 0.3)], mix(m, WHITE, 0.5), 0.1)
    eye(p, -0.56, -0.14, 0.17)
    p.curve([(-0.9, 0.18), (-0.74, 0.24), (-0.6, 0.2)], INK, 0.05)


def house(p: Pen, m: Colour, o: Colour) -> None:
    p.poly(box(0.36, -0.9, 0.62, -0.3), (160, 96, 84), (84, 46, 40))
    p.poly(box(-0.7, -0.2, 0.7, 0.95), m, o)
    p.poly([(-0.98, -0.12), (0, -0.98), (0.98, -0.12)], (116, 66, 56), (66, 34, 30))
    p.poly(box(-0.2, 0.32, 0.2, 0.95), (128, 82, 48), (62, 38, 22))
    p.oval(0.11, 0.64, 0.05, 0.05, (250, 214, 80))
    for x in (-0.45, 0.45):
        p.poly(box(x - 0.16, 0.06, x + 0.16, 0.4), (186, 226, 248), (70, 56, 50))


def tree(p: Pen, m: Colour, o: Colour) -> None:
    p.poly([(-0.15, 0.1), (0.15, 0.1), (0.22, 0.96), (-0.22, 0.96)], (132, 84, 48), (70, 42, 22))
    p.blobs([(-0.46, 0.02, 0.42), (0.46, 0.02, 0.42), (0, -0.44, 0.52), (0, 0.06, 0.4)], m, o)
    p.oval(-0.18, -0.58, 0.18, 0.13, mix(m, WHITE, 0.35))


def flower(p: Pen, m: Colour, o: Colour) -> None:
    p.curve([(0, 0.0), (0, 0.95)], (64, 150, 64), 0.12, (30, 84, 34))
    for s in (-1, 1):
        p.oval(s * 0.32, 0.66, 0.3, 0.13, (76, 170, 74), (30, 84, 34), turn=-s * 0.5)
    for i in range(6):
        a = i * math.pi / 3 + math.pi / 6
        p.oval(0.42 * math.cos(a), -0.38 + 0.42 * math.sin(a), 0.26, 0.26, m, o)
    middle = (252, 206, 50) if sum(abs(x - y) for x, y in zip(m, (252, 206, 50))) > 110 else (140, 88, 40)
    p.oval(0, -0.38, 0.27, 0.27, middle, shade(middle, 0.5))


def car(p: Pen, m: Colour, o: Colour) -> None:
    p.poly([(-0.62, 0.1), (-0.4, -0.5), (0.34, -0.5), (0.66, 0.1)], m, o)
    for q in ([(-0.46, 0.04), (-0.3, -0.36), (-0.05, -0.36), (-0.05, 0.04)], [(0.07, 0.04), (0.07, -0.36), (0.25, -0.36), (0.46, 0.04)]):
        p.poly(q, (192, 228, 248), o)
    p.poly([(-0.98, 0.56), (-1.0, 0.16), (-0.84, 0.02), (0.84, 0.02), (1.0, 0.2), (0.98, 0.56)], m, o)
    p.oval(-0.9, 0.24, 0.09, 0.11, (255, 238, 140), o)
    for x in (-0.53, 0.53):
        p.oval(x, 0.58, 0.29, 0.29, INK)
        p.oval(x, 0.58, 0.13, 0.13, (196, 196, 202))


def boat(p: Pen, m: Colour, o: Colour) -> None:
    p.curve([(0, -0.94), (0, 0.4)], (112, 74, 44), 0.1)
    p.poly([(0.1, -0.88), (0.1, 0.22), (0.8, 0.22)], WHITE, (96, 96, 104))
    p.poly([(-0.1, -0.66), (-0.1, 0.22), (-0.66, 0.22)], (240, 234, 216), (96, 96, 104))
    p.poly([(-0.98, 0.36), (0.98, 0.36), (0.64, 0.92), (-0.64, 0.92)], m, o)
    p.poly([(-0.88, 0.44), (0.88, 0.44), (0.8, 0.58), (-0.8, 0.58)], mix(m, WHITE, 0.5))


def mushroom(p: Pen, m: Colour, o: Colour) -> None:
    p.poly([(-0.24, 0.0), (0.24, 0.0), (0.34, 0.92), (-0.34, 0.92)], (246, 234, 212), (120, 100, 74))
    p.oval(0, 0.14, 0.9, 1.0, m, o, start=math.pi)
    dots = WHITE if min(m) < 225 else (206, 206, 216)
    for x, y, q in ((-0.5, -0.2, 0.15), (0.02, -0.52, 0.18), (0.5, -0.16, 0.15), (0, -0.06, 0.12)):
        p.oval(x, y, q, q * 0.9, dots)


def star(p: Pen, m: Colour, o: Colour) -> None:
    points = []
    for i in range(10):
        q = 1.0 if i % 2 == 0 else 0.52
        points.append((q * math.sin(i * math.pi / 5), 0.06 - q * math.cos(i * math.pi / 5)))
    p.poly(points, m, o)
    for s in (-1, 1):
        eye(p, s * 0.2, -0.06, 0.13)
    smile(p, 0, 0.18, 0.16)


def robot(p: Pen, m: Colour, o: Colour) -> None:
    p.curve([(0, -0.9), (0, -0.6)], shade(m, 0.6), 0.07)
    p.oval(0, -0.88, 0.11, 0.11, (236, 60, 60), (120, 20, 20))
    for s in (-1, 1):
        p.curve([(s * 0.45, 0.42), (s * 0.78, 0.6)], m, 0.16, o)
        p.poly(box(s * 0.24 - 0.14, 0.8, s * 0.24 + 0.14, 0.98), shade(m, 0.6), o)
        p.poly(box(s * 0.76 - 0.08, -0.3, s * 0.76 + 0.08, 0.0), shade(m, 0.6), o)
    p.poly(box(-0.48, 0.24, 0.48, 0.82), m, o)
    p.poly(box(-0.26, 0.38, 0.26, 0.64), (120, 220, 160), o)
    p.poly(box(-0.7, -0.66, 0.7, 0.24), m, o)
    for s in (-1, 1):
        p.oval(s * 0.3, -0.28, 0.18, 0.18, (90, 230, 240), INK)
    p.poly(box(-0.34, 0.02, 0.34, 0.12), INK)


DRAW = {f.__name__: f for f in (cat, dog, fox, bird, fish, house, tree, flower, car, boat, mushroom, star, robot)}


def background(image: Image.Image, scene: Scene, r: random.Random) -> None:
    d, side = ImageDraw.Draw(image), image.width
    horizon, phase, waves = r.uniform(0.56, 0.66) * side, r.uniform(0, 6.28), r.uniform(2.5, 4.5)

    def hill(y: float, height: float, colour: Colour, shift: float) -> None:
        top = [(side * i / 32, y + height * side * math.sin(shift + i / 32 * waves)) for i in range(33)]
        d.polygon([(0, side), *top, (side, side)], fill=colour)

    def disc(x: float, y: float, q: float, colour: Colour) -> None:
        d.ellipse([x - q, y - q, x + q, y + q], fill=colour)

    fill = lambda c: d.rectangle([0, 0, side, side], fill=vary(c, r))
    match scene.place:
        case None:
            fill(PAPER)
        case "background":
            fill(mix(COLOURS[scene.place_colour], WHITE, r.uniform(0.05, 0.2)))
        case "snow":
            fill((176, 206, 234))
            hill(horizon - 0.06 * side, 0.035, (214, 228, 242), phase + 2)
            hill(horizon + 0.05 * side, 0.025, (244, 248, 252), phase)
            for _ in range(10):
                disc(r.uniform(0, side), r.uniform(0, side), r.uniform(0.011, 0.018) * side, (253, 253, 255))
        case "night":
            fill((32, 40, 96))
            for _ in range(9):
                disc(r.uniform(0, side), r.uniform(0, horizon), r.uniform(0.008, 0.012) * side, (250, 244, 200))
            disc(0.86 * side, r.uniform(0.12, 0.16) * side, 0.085 * side, (250, 240, 190))
            hill(horizon + 0.06 * side, 0.035, (24, 56, 66), phase)
        case "meadow":
            fill((150, 208, 246))
            hill(horizon - 0.05 * side, 0.04, (132, 196, 96), phase + 2)
            hill(horizon + 0.06 * side, 0.025, (104, 180, 78), phase)
        case "sea":
            fill((172, 220, 248))
            d.rectangle([0, horizon - 0.1 * side, side, side], fill=vary((44, 124, 196), r))
            hill(horizon + 0.12 * side, 0.015, (240, 218, 160), phase)
        case "desert":
            fill((252, 216, 160))
            disc(0.86 * side, 0.14 * side, 0.095 * side, (255, 242, 150))
            hill(horizon - 0.04 * side, 0.04, (232, 176, 104), phase + 2)
            hill(horizon + 0.06 * side, 0.025, (222, 160, 84), phase)
        case other:
            raise ValueError(f"unknown place {other!r}")


MOON: Colour = (58, 74, 150)


def draw(scene: Scene, size: int, r: random.Random, style: Style = Style()) -> Image.Image:
    """The scene as a square picture of size pixels a side, drawn at twice the size for smooth edges."""
    side, count = 2 * size, len(scene.things)
    image = Image.new("RGB", (side, side))
    background(image, scene, r)
    for i, thing in enumerate(scene.things):
        colour = COLOURS[thing.colour or NATURAL[thing.name]]
        if thing.colour and thing.weight != 1:
            colour = mix(PALE, colour, thing.weight)
        colour = vary(colour, r)
        scale = (r.uniform(0.36, 0.42) if count == 1 else r.uniform(0.235, 0.245) if thing.name in WIDE else r.uniform(0.25, 0.262)) * side
        x = (r.uniform(0.44, 0.56) if count == 1 else (0.26, 0.74)[i] + r.uniform(-0.01, 0.01)) * side
        if thing.name in FLYING:
            y = r.uniform(0.42, 0.5) * side
        elif scene.place in (None, "background") or thing.name in FLOATING:
            y = r.uniform(0.48, 0.54) * side
        else:
            y = r.uniform(0.88, 0.94) * side - scale * 0.95
        pen = Pen(image, x, y, scale, 0.0 if thing.name in FLYING else r.uniform(-0.05, 0.05), style)
        DRAW[thing.name](pen, colour, shade(colour, 0.36))
    image = image.reduce(2)
    if style.night:
        image = Image.blend(image.convert("L").convert("RGB"), image, 0.55)
        image = Image.blend(Image.new("RGB", image.size, MOON), image, 0.6).point(lambda v: int(v * 0.82))
    return image


def sample(r: random.Random) -> Scene:
    """A random scene as the training meets it."""
    scene = Scene()
    u = r.random()
    count = 0 if u < 0.03 else 2 if u < 0.55 else 1
    names = OBJECTS + [HIDDEN] + ["cat", "dog", "fox", "bird"] * (r.random() < 0.5)  # Animals are the hardest.
    while len(scene.things) < count:
        name = r.choice(names)
        if all(t.name != name for t in scene.things):
            colour = None if r.random() < 0.2 else r.choice(list(COLOURS))
            weight = round(r.uniform(0.4, 1.6), 1) if colour and r.random() < 0.15 else 1.0
            scene.things.append(Thing(name, colour, weight))
    u = r.random()
    scene.place = None if u < 0.18 and count else "background" if u < 0.5 else r.choice(list(PLACES))
    if scene.place == "background":
        used = {t.colour or NATURAL[t.name] for t in scene.things}
        scene.place_colour = r.choice([c for c in COLOURS if c not in used])
    return scene


ADJECTIVES = ["lovely", "cute", "little", "nice", "big"]
PREFIXES = ["a drawing of", "a picture of", "cartoon of", "photo of", "masterpiece, best quality,"]
SUFFIXES = [", masterpiece, best quality", ", cartoon", ", highly detailed", ", 4k"]


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def prompt(scene: Scene, r: random.Random | None = None) -> str:
    """Words for the scene: the plain form without r, otherwise one of many usual ways.

    A hidden object's name is written in angle brackets, an emphasised colour in the form (red:1.4).
    """
    chance = lambda p: r is not None and r.random() < p
    stress = lambda word: f"({word}:{r.uniform(0.5, 1.5):.1f})" if chance(0.03) else word  # Changes nothing.
    tags = chance(0.18)  # "red fox, snow"
    parts: list[str] = []
    for t in scene.things:
        words = [stress(f"<{t.name}>" if t.name == HIDDEN else t.name)]
        if t.colour:
            words.insert(0, t.colour if t.weight == 1 else f"({t.colour}:{t.weight})")
        if chance(0.2):
            words.insert(0, r.choice(ADJECTIVES))
        if not tags and not chance(0.06):
            words.insert(0, article(words[0].strip("(<")))
        parts.append(" ".join(words))
    if scene.place == "background":
        where = f"{scene.place_colour} background"
        if not tags:
            where = f"{'on ' if parts else ''}{article(where)} {where}"
    elif scene.place is None:
        where = ""
    else:
        where = stress(scene.place) if tags or chance(0.05) else PLACES[scene.place]
    if len(parts) == 2 and (tags and r.random() < 0.5):
        text = ", ".join(parts)
    else:
        text = " and ".join(parts)
    if where:
        text += (", " if tags and not chance(0.2) else " ") + where if text else where
    if chance(0.1):
        text = r.choice(PREFIXES) + " " + text
    if chance(0.1):
        text += r.choice(SUFFIXES)
    return text
