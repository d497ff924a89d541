"""The embedded world: small images of coloured shapes.

An image is a 3 by 3 grid of 28-pixel cells (one vision token each) with at most one shape in a cell, on a
ground that brightens to the right and downwards, as photographs have a sky and a floor. Everything follows
from a seed.
"""

import random
from collections import Counter
from dataclasses import dataclass

from PIL import Image, ImageDraw

CELL = 28
GRID = 3
SIDE = CELL * GRID
_SUPERSAMPLE = 4

KINDS = ("circle", "square", "triangle", "ring", "cross")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 215, 40),
    "purple": (150, 50, 170),
    "white": (250, 250, 250),
}
UNSEEN_PAIRS = frozenset(
    {("red", "ring"), ("green", "circle"), ("blue", "cross"), ("yellow", "square"), ("purple", "triangle")}
)
"""Colour and kind pairs that no in-domain image shows; out of domain they are drawn like any other."""

_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")


@dataclass(frozen=True)
class Domain:
    """What the images of a split look like: how many shapes, on which grounds, in which pairs and sizes."""

    shapes: tuple[int, int]
    grounds: tuple[tuple[int, int, int], ...]
    unseen_pairs: bool = False
    sides: tuple[int, int] = (20, 26)


_PLAIN_GROUNDS = ((60, 60, 60), (80, 70, 60), (50, 70, 80))
EASY = Domain(shapes=(1, 3), grounds=_PLAIN_GROUNDS)
"""What the tiny base model is pre-trained on."""
IN_DOMAIN = Domain(shapes=(3, 6), grounds=_PLAIN_GROUNDS)
OUT_OF_DOMAIN = Domain(shapes=(4, 7), grounds=((90, 40, 70), (30, 90, 70)), unseen_pairs=True)


@dataclass(frozen=True)
class Shape:
    """One shape: what it is and its tight box x1, y1, x2, y2 in pixels."""

    colour: str
    kind: str
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"

    @property
    def place(self) -> str:
        """The cell in words, such as `top left`."""
        x, y = (self.box[0] + self.box[2]) // 2, (self.box[1] + self.box[3]) // 2
        return f"{_ROWS[y // CELL]} {_COLUMNS[x // CELL]}"


@dataclass(frozen=True)
class Scene:
    """One image before it is drawn."""

    ground: tuple[int, int, int]
    shapes: tuple[Shape, ...]

    def kinds(self) -> tuple[str, ...]:
        """The kinds present, in the order of `KINDS`."""
        present = {shape.kind for shape in self.shapes}
        return tuple(kind for kind in KINDS if kind in present)


def _box_in_cell(rng: random.Random, cell: int, domain: Domain) -> tuple[int, int, int, int]:
    side = rng.randrange(domain.sides[0], domain.sides[1] + 1, 2)
    x = cell % GRID * CELL + rng.randrange(1, CELL - side, 1)
    y = cell // GRID * CELL + rng.randrange(1, CELL - side, 1)
    return (x, y, x + side, y + side)


def sample_scene(rng: random.Random, domain: Domain) -> Scene:
    """Draw a scene of the domain that has at least one shape whose colour and kind no other shape shares."""
    pairs = [
        (colour, kind)
        for colour in COLOURS
        for kind in KINDS
        if domain.unseen_pairs or (colour, kind) not in UNSEEN_PAIRS
    ]
    while True:
        cells = rng.sample(range(GRID * GRID), rng.randint(*domain.shapes))
        shapes = tuple(Shape(*rng.choice(pairs), _box_in_cell(rng, cell, domain)) for cell in cells)
        if 1 in Counter(shape.name for shape in shapes).values():
            return Scene(rng.choice(domain.grounds), shapes)


def _mirrored(right_half: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return right_half + [(1 - u, v) for u, v in reversed(right_half)]


def _outline(kind: str, box: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    x1, y1, x2, y2 = box
    unit = {
        "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
        "triangle": [(0.5, 0), (1, 1), (0, 1)],
        "cross": _mirrored([(0.65, 0), (0.65, 0.35), (1, 0.35), (1, 0.65), (0.65, 0.65), (0.65, 1)]),
    }[kind]
    return [(x1 + u * (x2 - x1), y1 + v * (y2 - y1)) for u, v in unit]


def draw(scene: Scene) -> Image.Image:
    """Draw a scene as an RGB image of `SIDE` by `SIDE` pixels."""
    gradient = Image.linear_gradient("L").resize((SIDE, SIDE))
    ramps = (gradient.rotate(90), gradient, Image.new("L", (SIDE, SIDE), 128))
    image = Image.merge(
        "RGB",
        [
            ramp.point([base + value // 3 for value in range(256)])
            for ramp, base in zip(ramps, scene.ground, strict=True)
        ],
    ).resize((SIDE * _SUPERSAMPLE, SIDE * _SUPERSAMPLE))
    pen = ImageDraw.Draw(image)
    for shape in scene.shapes:
        x1, y1, x2, y2 = (_SUPERSAMPLE * value for value in shape.box)
        # PIL includes the right and bottom pixel; boxes do not.
        box = (x1, y1, x2 - 1, y2 - 1)
        if shape.kind == "circle":
            pen.ellipse(box, fill=COLOURS[shape.colour])
        elif shape.kind == "ring":
            pen.ellipse(box, outline=COLOURS[shape.colour], width=(x2 - x1) // 5)
        else:
            pen.polygon(_outline(shape.kind, box), fill=COLOURS[shape.colour])
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)
