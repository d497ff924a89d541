"""Share rows out to files that have no image in common: ``python -m curr_reft.data.split ROWS.jsonl …``.

    python -m curr_reft.data.split refcoco.jsonl --parts detection_coco_train.jsonl=3000 \
        detection_coco_val.jsonl=500 detection_coco_test.jsonl=1000 --seed 42

A part gets whole images, drawn at random, until it has its number of rows; of the last image's rows those
too many are left out, so that numbers are exact.
"""

import argparse
import logging
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tqdm import tqdm

from curr_reft.data.rows import write_rows
from curr_reft.data.schema import iter_objects, place
from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.files.json import Row
from curr_reft.files.json_lines import BrokenLine
from curr_reft.files.manifest import sha256_of


def split_rows(
    rows: Sequence[Row], sizes: Sequence[int], seed: int, same: Mapping[str, str] = MappingProxyType({})
) -> list[list[Row]]:
    """As many rows as each of `sizes` says, in the order they came; no image is in two parts.

    Args:
        same: What identifies images beside their paths, by path: see `digests`.

    Raises:
        InputError: when the rows do not suffice.
    """
    by_image: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_image[identity(row, same)].append(index)
    images = sorted(by_image)
    random.Random(seed).shuffle(images)
    remaining = iter(images)
    parts = []
    for size in sizes:
        chosen: list[int] = []
        while len(chosen) < size:
            path = next(remaining, None)
            if path is None:
                raise InputError(
                    f"{len(rows)} rows of {len(images)} images do not fill parts of {list(sizes)} rows"
                    " without an image in two of them"
                )
            chosen += by_image[path][: size - len(chosen)]
        parts.append([rows[index] for index in sorted(chosen)])
    return parts


def image(row: Row) -> str:
    """The path of a row's image, which some released files give as a list of one, in one spelling."""
    return os.path.normpath(row["image"] if isinstance(row["image"], str) else row["image"][0])


def identity(row: Row, same: Mapping[str, str]) -> str:
    """What tells a row's image from others: its entry in `same`, else its path."""
    path = image(row)
    return same.get(path, path)


def digests(rows: Iterable[Row], image_root: Path) -> dict[str, str]:
    """The digest of the bytes of every image that is there, by its path in the rows."""
    paths = sorted({image(row) for row in rows})
    progress = tqdm(paths, desc="Hashing images", unit="image", disable=None)
    return {path: sha256_of(image_root / path) for path in progress if (image_root / path).is_file()}


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, whatever fields they have beside `image`.

    Raises:
        InputError: for a line that is no row.
    """
    rows = []
    for number, row in iter_objects(path):
        if isinstance(row, BrokenLine):
            raise InputError(f"{place(path, number)}: {row}")
        match row:
            case {"image": str(image) | [str(image)]} if image:
                rows.append(row)
            case _:
                raise InputError(f"{place(path, number)}: expected an object with the path of an `image`")
    return rows


def _part(text: str) -> tuple[Path, int]:
    path, _, count = text.rpartition("=")
    if not path or not count.isdecimal() or int(count) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE=ROWS, such as train.jsonl=3000")
    return Path(path), int(count)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the parts."""
    parser = CommandParser(prog="python -m curr_reft.data.split", description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="+", metavar="ROWS.jsonl")
    parser.add_argument("--parts", type=_part, nargs="+", required=True, metavar="FILE=ROWS")
    parser.add_argument(
        "--avoid", type=Path, nargs="+", default=[], metavar="FILE", help="rows whose images no part gets"
    )
    parser.add_argument(
        "--image_root", type=Path, help="folder of the images: equal files count as one image"
    )
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    outputs = [path.resolve() for path, _ in arguments.parts]
    if len(set(outputs)) < len(outputs):
        raise InputError("--parts: two parts would go to one file")
    if not set(outputs).isdisjoint(path.resolve() for path in (*arguments.rows, *arguments.avoid)):
        raise InputError("--parts: a part would replace a file that is read")
    avoided = [row for path in arguments.avoid for row in read_rows(path)]
    rows = [row for path in arguments.rows for row in read_rows(path)]
    same = digests((*rows, *avoided), arguments.image_root) if arguments.image_root else {}
    taken = {identity(row, same) for row in avoided}
    rows = [row for row in rows if identity(row, same) not in taken]
    ids = Counter(str(row["id"]) for row in rows if "id" in row)
    for row_id, count in ids.most_common(1):
        if count > 1:
            raise InputError(f"id {row_id!r}: {count} rows have it")
    parts = split_rows(rows, [count for _, count in arguments.parts], arguments.seed, same)
    for (path, _), part in zip(arguments.parts, parts, strict=True):
        write_rows(path, part, drop_bad_rows=None)


if __name__ == "__main__":
    main()
