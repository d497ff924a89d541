"""What every builder needs of a raw annotation file: checked fields, image paths and boxes.

What is wrong with one record is a `RecordError`, which a builder turns into a `BadRecord`; what is wrong with
a whole file is an `InputError`.
"""

import math
from collections.abc import Container
from pathlib import Path, PurePosixPath
from typing import Any

from curr_reft.boxes import Size
from curr_reft.data.rows import BadRecord
from curr_reft.errors import InputError
from curr_reft.files.text import surrogate_fault

PixelBox = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the stored image."""

_MAX_PIXELS = 1_000_000
"""The longest side of an image. Without a bound, integers of 309 digits and more do not fit a float."""
_OVERRUN = 1
_MAX_ID_CHARACTERS = 100
_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    bytes: "bytes",
    dict: "an object",
    list: "an array",
}


class RecordError(ValueError):
    """A record cannot become a row; the message says which field and how, the caller adds where."""


def records(document: Any, key: str, path: Path) -> list[Any]:
    """The list under a key of a file's document.

    Raises:
        InputError: when it is missing or no list.
    """
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{path}: expected an object with a list of {key}")
    return found


def by_id(items: list[Any], place: str) -> tuple[dict[int | str, Any], list[BadRecord]]:
    """Records by their `id`, and those that cannot be: no object, no id, or the id of an earlier one."""
    found: dict[int | str, Any] = {}
    bad = []
    for index, item in enumerate(items):
        try:
            item_id = identifier(item, "id")
            if item_id in found:
                raise RecordError(f"id: another record has {item_id!r}")
            found[item_id] = item
        except RecordError as error:
            bad.append(BadRecord(f"{place}[{index}]", str(error)))
    return found, bad


def field(record: Any, key: str, *kinds: type) -> Any:
    """The value under a record's key, of one of the given types; a boolean passes only as `bool`.

    Raises:
        RecordError: when the record is no object, or the field is missing or of another type.
    """
    if not isinstance(record, dict):
        raise RecordError(f"expected an object, found {_kind(record)}")
    if key not in record:
        raise RecordError(f"{key}: missing")
    value = record[key]
    if type(value) not in kinds:
        expected = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
        raise RecordError(f"{key}: expected {expected}, found {_kind(value)}")
    return value


def text(record: Any, key: str) -> str:
    """A text field, stripped; `RecordError` when it is missing, no text, blank, or cannot be UTF-8."""
    value = field(record, key, str).strip()
    if not value:
        raise RecordError(f"{key}: empty")
    if fault := surrogate_fault(value):
        raise RecordError(f"{key}: {fault}")
    return value


def identifier(record: Any, key: str) -> int | str:
    """An id field: an integer or a printable text, of a length to show; raises `RecordError` otherwise."""
    value = field(record, key, int, str)
    # In hex, for Python refuses to spell thousands of decimal digits.
    shown = value if isinstance(value, str) else f"{value:x}"
    if not 0 < len(shown) <= _MAX_ID_CHARACTERS or not shown.isprintable():
        raise RecordError(f"{key}: expected 1 to {_MAX_ID_CHARACTERS} printable characters")
    return value


def known_id(record: Any, key: str, among: Container[int | str]) -> int | str:
    """An id field that names one of the records `among`; raises `RecordError` otherwise."""
    value = identifier(record, key)
    if value not in among:
        raise RecordError(f"{key}: no record has {value!r}")
    return value


def image_size(image: Any) -> Size:
    """Width and height of a COCO image record, in pixels; `RecordError` when one is no side of an image."""
    width, height = (field(image, side, int) for side in ("width", "height"))
    if not (0 < width <= _MAX_PIXELS and 0 < height <= _MAX_PIXELS):
        raise RecordError(f"width and height: expected 1 to {_MAX_PIXELS} pixels")
    return width, height


def image_path(prefix: str, name: str) -> str:
    """The path of an image under the image root: the prefix, and the file name that a record gives.

    Raises:
        RecordError: when the name could lead out of the prefix.
    """
    path = PurePosixPath(name)
    if not path.parts or not leads_below(name):
        raise RecordError(f"{name[:80]!r} is no path under the folder of the images")
    return str(PurePosixPath(prefix) / path)


def leads_below(path: str) -> bool:
    """Whether a path, joined to a folder, stays in it on every system and can be shown."""
    parts = PurePosixPath(path).parts
    return not path.startswith("/") and ".." not in parts and "\\" not in path and path.isprintable()


def corners(record: Any, key: str, size: Size) -> PixelBox:
    """The corners of a COCO box `[x, y, width, height]`, rounded half up, in an image of `size`.

    A side up to one pixel outside the image is clipped: tools disagree on whether a box ends on its last
    pixel or after it, and polygons are drawn along the edge.

    Raises:
        RecordError: for anything but four finite numbers, and for a box that is inverted, leaves the image
            by more, or covers no whole pixel.
    """
    box = field(record, key, list)
    if len(box) != 4 or not all(_is_coordinate(number) for number in box):
        raise RecordError(f"{key}: expected four numbers up to {_MAX_PIXELS}: x, y, width, height")
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise RecordError(f"{key}: width {width} and height {height} must be positive")
    exact = (x, y, x + width, y + height)
    limits = (*size, *size)
    if any(not -_OVERRUN <= value <= limit + _OVERRUN for value, limit in zip(exact, limits, strict=True)):
        raise RecordError(f"{key}: {list(box)} leaves the {size[0]}x{size[1]} image")
    x1, y1, x2, y2 = (
        min(max(math.floor(value + 0.5), 0), limit) for value, limit in zip(exact, limits, strict=True)
    )
    if x1 >= x2 or y1 >= y2:
        raise RecordError(f"{key}: {list(box)} covers no whole pixel")
    return x1, y1, x2, y2


def _is_coordinate(value: Any) -> bool:
    # NaN compares false.
    return type(value) in (int, float) and -_MAX_PIXELS <= value <= _MAX_PIXELS


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)
