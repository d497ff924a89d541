"""Boxes: overlap, and moving them between the frames of an image.

Three frames are named: *stored*, the pixels of the file with its EXIF orientation applied; *budget*, after
the stage's image budget; *processed*, after the processor's own resize. All are pixel frames with the origin
at the top left, so moving a box is a scaling per axis. The 0-1000 frame of other models and of RefGTA's
`normalized_solution` is one more: that of an image of `THOUSANDTHS`.
"""

import math
import re
from typing import Literal

import numpy as np

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of some frame, covering [x1, x2) x [y1, y2)."""
Size = tuple[int, int]
"""Width and height in pixels."""
THOUSANDTHS: Size = (1000, 1000)
BoxFrame = Literal["budget", "processed"]
"""The frames that boxes can be taught in."""

# Possessive quantifiers never backtrack, which keeps the search linear on hostile text.
_NUMBER = re.compile(r"[+-]?+(?:[0-9]{1,9}+(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?+[0-9]{1,2}+)?+")
_BOX_IN_TEXT = re.compile(rf"\[\s*+{_NUMBER.pattern}(?:\s*+,\s*+{_NUMBER.pattern}){{3}}\s*+\]")


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, continuous (no +1 pixel convention); 0 without overlap."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return intersection / union


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`iou` of each of `n` boxes with each of `m`: `[n, 4]` and `[m, 4]` give `[n, m]`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return intersection / (areas[0][:, None] + areas[1][None] - intersection)


def scale_box(box: Box, source: Size, target: Size) -> Box:
    """Move a box from the frame of an image at size `source` to its frame at size `target`."""
    sx, sy = target[0] / source[0], target[1] / source[1]
    return (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)


def round_box(box: Box, size: Size) -> tuple[int, int, int, int]:
    """The box in whole pixels of an image of `size`: rounded half up, inside it, at least a pixel long."""
    sides = []
    for low, high, length in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        first = min(max(math.floor(low + 0.5), 0), length - 1)
        sides.append((first, min(max(math.floor(high + 0.5), first + 1), length)))
    (x1, x2), (y1, y2) = sides
    return x1, y1, x2, y2


def leaves(box: Box, size: Size, slack: float = 0) -> bool:
    """Whether a box reaches out of the frame of an image of `size` by more than `slack` pixels."""
    # Said of what must hold, so that NaN leaves.
    return not (min(box[:2]) >= -slack and box[2] <= size[0] + slack and box[3] <= size[1] + slack)


def box_fault(box: Box, size: Size) -> str | None:
    """What is wrong with a box in the frame of an image of `size`, `None` when nothing is.

    It must have an area and lie inside, up to one pixel that rounding may have cost. The first pixel alone
    holds no object, but boxes that are shares of the image's sides.
    """
    x1, y1, x2, y2 = box
    # Said of what must hold, so that NaN is a fault.
    if not (x2 > x1 and y2 > y1):
        return f"box {list(box)}: x2 and y2 must exceed x1 and y1 (corners, not width and height)"
    if leaves(box, size, slack=1):
        return f"box {list(box)}: leaves its image of {size[0]}x{size[1]} pixels"
    if not leaves(box, (1, 1)):
        return (
            f"box {list(box)}: inside one pixel; it looks normalised to 0…1: multiply it by the image's"
            " width and height"
        )
    return None


def boxes_in_text(text: str) -> list[Box]:
    """Every `[x1, y1, x2, y2]` that a text spells, as numbers; in linear time."""
    found = (_NUMBER.findall(match[0]) for match in _BOX_IN_TEXT.finditer(text))
    return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in found]


def rescale_boxes_in_text(text: str, source: Size, target: Size) -> str:
    """Move every `[x1, y1, x2, y2]` that a text spells between two frames of the same image.

    A box is a bracketed list of exactly four numbers, in pixels of the frame of size `source`. All else in
    the text stays as it is, also the white space inside the brackets; equal sizes return the very text.
    Integers stay integers, rounded half up; other numbers are written with two decimals. A side that had
    length keeps some: where rounding would close it, it becomes one step long (1, or 0.01), within the frame.
    Takes linear time.
    """
    if source == target:
        return text

    def moved(match: re.Match[str]) -> str:
        numbers = iter(_rescaled_numbers(_NUMBER.findall(match[0]), source, target))
        return _NUMBER.sub(lambda _: next(numbers), match[0])

    return _BOX_IN_TEXT.sub(moved, text)


def _rescaled_numbers(numbers: list[str], source: Size, target: Size) -> list[str]:
    x1, y1, x2, y2 = box = [float(number) for number in numbers]
    is_integer = [number.lstrip("+-").isdigit() for number in numbers]
    steps = [1 if integer else 0.01 for integer in is_integer]
    scaled = scale_box((x1, y1, x2, y2), source, target)
    moved = [
        math.floor(value + 0.5) if integer else round(value, 2)
        for value, integer in zip(scaled, is_integer, strict=True)
    ]
    for low, high in ((0, 2), (1, 3)):
        if box[low] < box[high] and moved[low] >= moved[high]:
            if moved[low] < target[low]:
                moved[high] = moved[low] + steps[high]
            else:
                moved[low] = moved[high] - steps[low]
    return [f"{value:.{0 if integer else 2}f}" for value, integer in zip(moved, is_integer, strict=True)]
