"""Boxes as JSON, and `No Objects`."""

import json
import math

from curr_reft.answers.markup import without_markup
from curr_reft.answers.words import bare
from curr_reft.boxes import Box


def parse_boxes(answer: str) -> list[Box] | None:
    """The boxes of an answer that is JSON as a whole, in its own pixel frame; `None` when it holds no boxes.

    Accepted: four numbers, an object with exactly one four-number list under any key, or a list of either.
    One element without a box, or a number that is not finite, spoils the answer. A box whose area is not
    positive is invalid and dropped, so the list may be empty.
    """
    value = _load_json(without_markup(answer))
    single = _box(value)
    if single is not None:
        boxes = [single]
    elif isinstance(value, list):
        boxes = [_box(element) for element in value]
    else:
        return None
    if None in boxes:
        return None
    return [box for box in boxes if _has_area(box)]


def is_no_objects(answer: str) -> bool:
    """Whether the answer is ``No Objects``, the paper's words (Fig. 3) for an image without the object."""
    return bare(without_markup(answer), final=".") == "no objects"


def parse_detection(answer: str) -> tuple[Box, ...] | None:
    """The boxes of an answer, none for `No Objects`; `None` when it is neither."""
    return () if is_no_objects(answer) else tuple(parse_boxes(answer) or ()) or None


def _load_json(text: str) -> object:
    """The value of a JSON text with every number a finite float.

    `None` when it is not JSON, nested too deeply, or holds a number beyond a float's range anywhere.
    """
    try:
        return json.loads(text, parse_int=_finite, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _box(value: object) -> Box | None:
    """The one box of a JSON value: four finite numbers, or an object in which one value is."""
    if isinstance(value, dict):
        found = [box for box in map(_four_numbers, value.values()) if box is not None]
        return found[0] if len(found) == 1 else None
    return _four_numbers(value)


def _four_numbers(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(number, float) for number in value):
        return None
    return tuple(value)


def _has_area(box: Box) -> bool:
    # The product is tested too: sides of 1e-200 are positive, but IoU would divide by their area, which is 0.
    x1, y1, x2, y2 = box
    return x2 > x1 and y2 > y1 and 0 < (x2 - x1) * (y2 - y1) < float("inf")
