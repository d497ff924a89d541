"""RefGTA to out-of-domain detection rows: ``python -m curr_reft.data.sources.refgta``.

Reads the layout of https://github.com/mikittt/easy-to-understand-REG: `refs(utokyo).p` and `instances.json`.
Rows have the form of the released `test/Refgta/refgta_subsample_resize.json`, which differs from all others:
golds are plain lists `[x1, y1, x2, y2]`, in three frames.

- `solution`: whole pixels of the stored image
- `normalized_solution`: thousandths of its width and height
- `resize_solution`: whole pixels of the image as stage 3 shrinks a detection image

The release's own rule for the third is unknown; with ours it is the frame of what an evaluation here shows.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from curr_reft.boxes import THOUSANDTHS, Size, round_box, scale_box
from curr_reft.data.images import budget_size
from curr_reft.data.rows import BadRecord, write_rows
from curr_reft.data.sources.annotations import PixelBox
from curr_reft.data.sources.flags import builder_parser
from curr_reft.data.sources.refer import read_expressions
from curr_reft.errors import command
from curr_reft.files.json import Row
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task


def refgta_rows(
    refs: Path, instances: Path, split: str, sentences: str, image_prefix: str
) -> Iterator[Row | BadRecord]:
    """A row for each sentence of a split (`sentences`: `all`, or the `first` of each ref), in file order.

    Ids are `refgta:REF_ID:SENT_ID`.

    Raises:
        InputError: when a file is not of the layout, or no ref is in the split.
    """
    for found in read_expressions(refs, instances, split, sentences, image_prefix):
        if isinstance(found, BadRecord):
            yield found
            continue
        shown = budget_size(found.size, find_task("detection").asking(STAGES["open"]).budget)
        yield {
            "id": f"refgta:{found.id}",
            "problem": found.problem,
            "solution": list(found.box),
            "normalized_solution": _moved(found.box, found.size, THOUSANDTHS),
            "resize_solution": _moved(found.box, found.size, shown),
            "task": "detection",
            "image": found.image,
        }


def _moved(box: PixelBox, source: Size, target: Size) -> list[int]:
    return list(round_box(scale_box(box, source, target), target))


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows of one split."""
    parser = builder_parser(__doc__, image_prefix="images/refgta")
    parser.add_argument("--refs", type=Path, required=True, help="such as refgta/refs(utokyo).p")
    parser.add_argument("--instances", type=Path, required=True, help="such as refgta/instances.json")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--sentences", choices=("first", "all"), default="all", help="of each ref")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = refgta_rows(
        arguments.refs, arguments.instances, arguments.split, arguments.sentences, arguments.image_prefix
    )
    write_rows(arguments.output, rows, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
