"""Rows whose images are named by paths of the authors' machines, rewritten for this one."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from curr_reft.data.download.released_files import IMAGE_SUFFIXES, RELEASED_ROOTS
from curr_reft.data.download.snapshot import files_below
from curr_reft.data.row_fields import kind
from curr_reft.data.schema import iter_objects, place
from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing
from curr_reft.files.json_lines import BrokenLine
from curr_reft.files.text import surrogate_fault


class KeptFileError(InputError):
    """A file here that this command did not write, or not as it is now, stays."""


class Images:
    """The images below a folder, found by the paths they were released under."""

    def __init__(self, tree: Path) -> None:
        """Walks `tree` once; images that come later are not seen."""
        self._by_end: dict[tuple[str, ...], list[str]] = {}
        for image in files_below(tree):
            if image.suffix.lower() in IMAGE_SUFFIXES:
                for start in range(len(image.parts)):
                    self._by_end.setdefault(image.parts[start:], []).append(str(image))

    def find(self, released: tuple[str, ...]) -> tuple[str, bool] | None:
        """The image whose path ends like the released one for longest, if there is one such image.

        The second value says whether no more than the file's name is alike.
        """
        for start in range(len(released)):
            if nearest := self._by_end.get(released[start:]):
                by_name = start == len(released) - 1 > 0
                return (nearest[0], by_name) if len(nearest) == 1 else None
        return None


@dataclass(slots=True)
class RewrittenRows:
    """A row file as it was rewritten, with its distinct images."""

    rows: int = 0
    found: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    """Released paths of images that are not here, or of whose name there are several that match as well."""
    by_name: set[str] = field(default_factory=set)
    """Images here of which no more than the file's name is that of the released path."""
    sha256: str = ""
    """Of the file as it was written."""


def rewrite_rows(
    released: Path, target: Path, images: Images, recorded: str | None, overwrite: bool
) -> RewrittenRows:
    """Write `target`: the rows of `released` with image paths relative to the folder of `images`.

    Only `image` and `images` change. An image that is not here gets the path it would have below `images/`.
    A target that would stay the same is not touched. Unless `overwrite`, a target is replaced only if it has
    the digest it was last written with (`recorded`).

    Raises:
        InputError: when a file cannot be read or written, or a row is broken (`FILE:LINE`); the target stays.
        KeptFileError: when the target is neither the recorded file nor what would be written; it stays.
    """
    result = RewrittenRows()
    lines = []
    for number, row in iter_objects(released):
        where = place(released, number)
        if isinstance(row, BrokenLine):
            raise InputError(f"{where}: {row}")
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, found {kind(row)}")
        lines.append(json.dumps(_rewritten(row, images, result), ensure_ascii=False))
        if fault := surrogate_fault(lines[-1]):
            raise InputError(f"{where}: {fault}")
    result.rows = len(lines)
    text = "[\n" + ",\n".join(lines) + "\n]\n" if target.suffix == ".json" else "\n".join([*lines, ""])
    result.sha256 = hashlib.sha256(text.encode()).hexdigest()
    present = _sha256(target)
    if present == result.sha256:
        return result
    if present not in (None, recorded) and not overwrite:
        raise KeptFileError(f"{target}: kept: edited, or not from this command; --overwrite replaces it")
    with replacing(target) as file:
        file.write(text)
    return result


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _rewritten(row: dict[str, Any], images: Images, result: RewrittenRows) -> dict[str, Any]:
    changed = {}
    for key in row.keys() & {"image", "images"}:
        value = row[key]
        if isinstance(value, str):
            changed[key] = _here(value, images, result)
        elif isinstance(value, list):
            changed[key] = [_here(item, images, result) if isinstance(item, str) else item for item in value]
    return {**row, **changed}


def _here(released: str, images: Images, result: RewrittenRows) -> str:
    parts = _parts(released)
    if "://" in released or not parts:
        return released
    if (match := images.find(parts)) is not None:
        path, by_name = match
        result.found.add(path)
        if by_name:
            result.by_name.add(path)
        return path
    result.missing.add(released)
    root = next((root for root in RELEASED_ROOTS if released.startswith(root)), "")
    below = _parts(released.removeprefix(root))
    return "/".join(below if below[:1] == ("images",) else ("images", *below))


def _parts(path: str) -> tuple[str, ...]:
    """The path's parts without its root and without steps upwards."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", "//", ".."))
