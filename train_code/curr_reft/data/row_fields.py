"""The fields of a row, each checked as it is read; what is wrong is a `BadRowError`."""

import os
import re
from pathlib import Path
from typing import Any

from curr_reft.files.text import special_token_fault, surrogate_fault

IMAGE_TAG = "<image>"
"""Where rows made for LLaVA or ms-swift have their image; here an image comes before every question."""
LEADING_TAG = re.compile(rf"\s*{IMAGE_TAG}\s*")
_LONGEST_PATH = 1024
_SHOWN = 40
_JSON_NAMES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "an array"}


class BadRowError(ValueError):
    """A row is not what it should be; the message says which field and how, the caller adds where."""


def path_fault(path: str) -> str | None:
    """Why a text is no path of an image but the image itself, or `None`."""
    if path.startswith("data:") or len(path) > _LONGEST_PATH:
        size = f"{len(path)} characters ({path[:_SHOWN]!r}…)"
        return f"expected a path; this looks like base64 data of {size}; write it to a file"
    return None


def image_path(image_root: str, image: str) -> Path:
    """The image's absolute path; `..` is resolved by name, so a link below the root may lead anywhere."""
    path = os.path.normpath(os.path.join(image_root, image))
    if not path.startswith(os.path.join(image_root, "")):
        raise BadRowError(f"image: {image!r} is not below the image root {image_root}")
    return Path(path)


def problem_of(row: dict[str, Any]) -> str:
    """The question, without the tag at its start that stands for the image in other tools' rows."""
    problem = text_of(row, "problem")
    if tag := LEADING_TAG.match(problem):
        problem = _checked_text(problem[tag.end() :], "problem")
    check_tokens(problem, "problem")
    return problem


def check_tokens(text: str, field: str) -> None:
    """Refuse what a tokenizer or ms-swift would take for more than text."""
    if fault := special_token_fault(text):
        raise BadRowError(f"{field}: {fault}; take it out")
    if IMAGE_TAG in text:
        raise BadRowError(f"{field}: contains {IMAGE_TAG}; only one at the start of a problem is taken off")


def text_of(row: dict[str, Any], field: str) -> str:
    """A field that must be there, a text, and not blank."""
    if field not in row:
        raise BadRowError(f"{field}: missing")
    return _checked_text(row[field], field)


def _checked_text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"{field}: expected a string, found {kind(value)}")
    if not value.strip():
        raise BadRowError(f"{field}: empty")
    if fault := surrogate_fault(value):
        raise BadRowError(f"{field}: {fault}")
    return value


def image_of(row: dict[str, Any]) -> str:
    """The one image of a row, which some released files give as a list of one."""
    image = row.get("image")
    if image is None or image in ("", []):
        raise BadRowError("image: the row has no image; rows of text alone are not supported")
    if isinstance(image, list):
        if len(image) > 1:
            raise BadRowError(f"image: expected one image, found {len(image)}")
        image = image[0]
    path = _checked_text(image, "image")
    if fault := path_fault(path):
        raise BadRowError(f"image: {fault}")
    return path


def kind(value: Any) -> str:
    """What JSON calls a value."""
    return _JSON_NAMES.get(type(value), "a string" if isinstance(value, str) else "an object")
