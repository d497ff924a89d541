"""Is a file fit for supervised fine-tuning by ms-swift? ``python -m curr_reft.sft.check FILE.jsonl``

Checks the form of every row, that its images are there and can be decoded, that it fits into the length
(ms-swift leaves longer ones out without naming them), and that no held-out row is given away.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.boxes import boxes_in_text
from curr_reft.data.images import ImageError
from curr_reft.data.row_fields import BadRowError
from curr_reft.data.schema import place
from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.files.json_lines import read_json_lines
from curr_reft.files.manifest import sha256_of
from curr_reft.sft.images import DecodedImage, image_path, look_at, rescaled
from curr_reft.sft.messages import MessageRow, read_row

logger = logging.getLogger(__name__)

_SHOWN_FAULTS = 5


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row whose form is right, where it stands, and its images' paths."""

    id: str
    """`FILE:LINE`."""
    row: MessageRow
    images: tuple[Path, ...]


@dataclass(frozen=True)
class CheckedFile:
    """What a file without a fault holds."""

    path: Path
    sha256: str
    rows: int
    text_only: int
    tokens: Sequence[int]
    """Of each row, its images' included; empty when they were not counted."""
    warnings: Sequence[str]

    def __str__(self) -> str:
        lengths = f", {min(self.tokens)} to {max(self.tokens)} tokens" if self.tokens else ""
        return f"{self.path}: {self.rows} rows, {self.text_only} of text alone{lengths}"


def check_file(
    path: Path,
    model: str | None = None,
    system: str | None = None,
    max_length: int | None = None,
    max_pixels: int | None = None,
    rescaled_to: int | None = None,
    suites: Path | None = None,
    data_root: Path | None = None,
) -> CheckedFile:
    """Check a file of rows, what costs little before what costs more.

    Args:
        model: Checkpoint whose processor counts tokens; `None` counts none.
        system: System prompt of rows without their own; `None` takes the chat template's.
        max_length: Most tokens of a row, images included.
        max_pixels: Pixels an image is shrunk to (swift's `MAX_PIXELS`); `None` for the processor's own.
        rescaled_to: Pixels it is shrunk to before that (swift's flag `--max_pixels`).
        suites: Suites YAML of what is held out; `None` compares with nothing.
        data_root: Folder that the suites' files and images are below.

    Raises:
        InputError: with the number of faults and the first ones, as `FILE:LINE`.
    """
    rows, faults = _read(path)
    found = look_at(list(dict.fromkeys(image for row in rows for image in row.images)))
    bad = {image: str(decoded) for image, decoded in found.items() if isinstance(decoded, ImageError)}
    faults += [f"{row.id}: {bad[image]}" for row in rows for image in row.images if image in bad]
    _refuse(path, faults)
    decoded_images = {image: decoded for image, decoded in found.items() if isinstance(decoded, DecodedImage)}
    limit = min(filter(None, (max_pixels, rescaled_to)), default=None)
    warnings = _image_warnings(rows, decoded_images, limit)
    if suites is not None:
        # Arrow and all that reads it take seconds to import.
        from curr_reft.sft.held_out import leaks_of

        faults, unread = leaks_of(rows, suites, data_root or Path())
        warnings += [f"held-out suite not compared: {suite}" for suite in unread]
        _refuse(path, faults)
    tokens: list[int] = []
    if model is not None:
        from curr_reft.sft.lengths import row_tokens

        sizes = {image: rescaled(decoded.size, rescaled_to) for image, decoded in decoded_images.items()}
        tokens = row_tokens(rows, sizes, model, system, max_pixels)
        faults = [
            f"{row.id}: {length} tokens, over --max_length {max_length}"
            for row, length in zip(rows, tokens, strict=True)
            if max_length is not None and length > max_length
        ]
        _refuse(path, faults)
    text_only = sum(not row.images for row in rows)
    return CheckedFile(path, sha256_of(path), len(rows), text_only, tokens, warnings)


def _read(path: Path) -> tuple[list[CheckedRow], list[str]]:
    if path.suffix != ".jsonl":
        raise InputError(f"{path}: expected a .jsonl file, one row a line")
    rows, faults, count = [], [], 0
    for number, value in read_json_lines(path, object_pairs_hook=_without_repeats):
        count += 1
        where = place(path, number)
        try:
            row = read_row(value)
            rows.append(CheckedRow(where, row, tuple(image_path(image) for image in row.images)))
        except (BadRowError, ImageError) as error:
            faults.append(f"{where}: {error}")
    if not count:
        raise InputError(f"{path}: the file has no rows")
    return rows, faults


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses an object with a key twice, of which ms-swift's reader makes something of its own."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise BadRowError(f"{next(key for key in keys if keys.count(key) > 1)}: the key stands there twice")
    return found


def _refuse(path: Path, faults: Sequence[str]) -> None:
    if faults:
        shown = "; ".join(faults[:_SHOWN_FAULTS])
        more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise InputError(
            f"{path.name}: {len(faults)} fault{'s' if len(faults) > 1 else ''}: {shown}{more}"
            " (mend these rows or take them out)"
        )


def _image_warnings(
    rows: Sequence[CheckedRow], decoded_images: dict[Path, DecodedImage], max_pixels: int | None
) -> list[str]:
    turned, transparent, shrunk = [], [], []
    for row in rows:
        seen = [decoded_images[image] for image in row.images]
        if any(decoded.turned for decoded in seen):
            turned.append(
                f"{row.id}: its image is stored turned, and ms-swift does not apply the EXIF orientation"
            )
        if any(decoded.transparent for decoded in seen):
            transparent.append(
                f"{row.id}: its image has transparent parts, which ms-swift puts on white only in mode RGBA"
                " and without --max_pixels; otherwise it shows the colour beneath them, often black"
            )
        large = [decoded.size for decoded in seen if max_pixels and math.prod(decoded.size) > max_pixels]
        if large and boxes_in_text(row.row.text):
            shrunk.append(
                f"{row.id}: its image of {large[0][0]}x{large[0][1]} is shrunk to {max_pixels} pixels, and"
                " the boxes in its text are not moved with it"
            )
    return [f"{len(lines)} rows, first {lines[0]}" for lines in (turned, transparent, shrunk) if lines]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Check files; exit code 2 when one has a fault."""
    parser = CommandParser(prog="python -m curr_reft.sft.check", description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.jsonl")
    parser.add_argument("--model", help="checkpoint whose processor counts tokens")
    parser.add_argument("--system", help="system prompt of rows without their own")
    parser.add_argument("--max_length", type=int, help="most tokens of a row, its images' included")
    parser.add_argument("--max_pixels", type=int, help="as MAX_PIXELS of the run")
    parser.add_argument("--suites", type=Path, help="suites YAML of what is held out, see configs/eval")
    parser.add_argument("--data_root", type=Path, help="folder that the suites' files are below")
    flags = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if (flags.suites is None) != (flags.data_root is None):
        raise InputError("--suites and --data_root: give both, or neither")
    if flags.max_length is not None and flags.model is None:
        raise InputError("--max_length: needs --model, whose processor counts tokens")
    for name in ("max_length", "max_pixels"):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            raise InputError(f"--{name} {getattr(flags, name)}: expected 1 or more")
    options = {name: value for name, value in vars(flags).items() if name != "files"}
    for path in flags.files:
        checked = check_file(path, **options)
        for warning in checked.warnings:
            logger.warning("warning: %s", warning)
        logger.info("%s", checked)


if __name__ == "__main__":
    main()
