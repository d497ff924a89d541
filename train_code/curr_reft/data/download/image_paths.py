"""Rows whose images are named by paths of the authors' machines, rewritten for this one."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from curr_reft.data.download.released_files import IMAGE_SUFFIXES, RELEASED_ROOTS
from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing


class KeptFileError(InputError):
    """A file here that this command did not write, or not as it is now, stays."""


class Images:
    """The images below a folder, found by the paths they were released under."""

    def __init__(self, tree: Path) -> None:
        """Walks `tree` once; images that come later are not seen."""
        self._by_name: dict[str, list[tuple[str, ...]]] = {}
        for parent, _, names in os.walk(tree):
            folders = Path(parent).relative_to(tree).parts
            for name in names:
                if name.lower().endswith(IMAGE_SUFFIXES):
                    self._by_name.setdefault(name, []).append((*folders, name))

    def nearest(self, released: tuple[str, ...]) -> tuple[list[tuple[str, ...]], int]:
        """The images whose paths end like the released one for longest, and for how many parts they do.

        More than one: the path does not tell them apart.
        """
        lengths = {parts: _common_end(parts, released) for parts in self._by_name.get(released[-1], ())}
        longest = max(lengths.values(), default=0)
        return [parts for parts, length in lengths.items() if length == longest], longest


def _common_end(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@dataclass(slots=True)
class RewrittenRows:
    """A row file as it was rewritten, with its distinct images."""

    rows: int | None = 0
    """`None`: a JSON file that holds no rows, taken over as it is."""
    found: set[str] = field(default_factory=set)
    by_name_alone: dict[str, str] = field(default_factory=dict)
    """Of the found ones, released path to path here, those that lie in a folder of another name."""
    ambiguous: set[str] = field(default_factory=set)
    """Released paths that several images here answer to equally well; none is chosen."""
    missing: set[str] = field(default_factory=set)
    no_image: list[str] = field(default_factory=list)
    """Places (`FILE:LINE`) of rows whose `image` is no path of one image."""
    sha256: str = ""
    """Of the file as it was written."""


def rewrite_rows(
    released: Path, target: Path, images: Images, recorded: str | None, overwrite: bool
) -> RewrittenRows:
    """Write `target`: the rows of `released` with image paths relative to the folder of `images`.

    Only `image` and `images` change. An image that is not here gets the path it would have below `images/`.
    Lines or an array: as the target's name says. A target that would stay the same is not touched.
    Unless `overwrite`, a target is replaced only if it has the digest it was last written with (`recorded`).

    Raises:
        InputError: when a file cannot be read or written, or a row is broken (`FILE:LINE`); the target stays.
        KeptFileError: when the target is neither the recorded file nor what would be written; it stays.
    """
    try:
        text = released.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{released}: cannot be read as UTF-8 text ({error})") from error
    result = RewrittenRows()
    rows = _parse(released, text)
    if rows is None:
        result.rows, written = None, text
    else:
        lines = []
        for where, row in rows:
            _check_text(where, row)
            if not _has_image(row):
                result.no_image.append(where)
            _rewrite(row, images, result)
            _check_text(where, row)  # now with paths of this machine
            lines.append(json.dumps(row, ensure_ascii=text.isascii()))
        result.rows = len(lines)
        written = "[\n" + ",\n".join(lines) + "\n]\n" if target.suffix == ".json" else "\n".join([*lines, ""])
    result.sha256 = hashlib.sha256(written.encode()).hexdigest()
    present = _sha256(target)
    if present == result.sha256:
        return result
    if present not in (None, recorded) and not overwrite:
        raise KeptFileError(f"{target}: kept: edited, or not from this command; --overwrite replaces it")
    with replacing(target) as file:
        file.write(written)
    return result


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(path: Path, text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Rows with their places, whichever form the file has; `None` for JSON of another kind."""
    if text.lstrip().startswith("["):
        rows = [(f"{path}[{index}]", row) for index, row in enumerate(_load(f"{path}", text))]
    else:
        try:
            if isinstance(json.loads(text), dict) and "\n" in text.strip():
                return None
        except (ValueError, RecursionError):
            pass  # several values, as JSON lines are, or a broken one that is named below
        lines = enumerate(text.split("\n"), start=1)
        rows = [(f"{path}:{n}", _load(f"{path}:{n}", line)) for n, line in lines if line.strip()]
    for where, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, found {json.dumps(row)[:40]}")
    return rows


def _load(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON: {error}") from error


def _check_text(where: str, row: dict[str, Any]) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: unpaired surrogate at character {error.start}") from error


def _has_image(row: dict[str, Any]) -> bool:
    match row.get("image"):
        case str(path) | [str(path)]:
            return "://" not in path and any(_parts(path))
    return False


def _rewrite(row: dict[str, Any], images: Images, result: RewrittenRows) -> None:
    for key in ("image", "images"):
        value = row.get(key)
        if isinstance(value, str) and value:
            row[key] = _here(value, images, result)
        elif isinstance(value, list):
            row[key] = [_here(item, images, result) if isinstance(item, str) else item for item in value]


def _here(released: str, images: Images, result: RewrittenRows) -> str:
    parts = tuple(_parts(released))
    if "://" in released or not parts:
        return released
    nearest, length = images.nearest(parts)
    if len(nearest) == 1:
        path = "/".join(nearest[0])
        result.found.add(path)
        if length == 1 < len(parts):
            result.by_name_alone[released] = path
        return path
    (result.ambiguous if nearest else result.missing).add(released)
    root = next((root for root in RELEASED_ROOTS if released.startswith(root)), "")
    below = tuple(_parts(released.removeprefix(root)))
    return "/".join(below if below[:1] == ("images",) else ("images", *below))


def _parts(path: str) -> Iterator[str]:
    """The path's parts without its root and without steps upwards."""
    return (part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "//", ".."))
