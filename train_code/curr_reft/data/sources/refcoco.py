"""RefCOCO, RefCOCO+ and RefCOCOg to detection rows: ``python -m curr_reft.data.sources.refcoco``.

Reads the layout of https://github.com/lichengunc/refer: `refs(unc).p`, `refs(umd).p` or `refs(google).p`, and
`instances.json`. The pickle is read without running anything (`plain_pickle`).
"""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from curr_reft.data.rows import BadRecord, make_row, write_rows
from curr_reft.data.sources.flags import builder_parser
from curr_reft.data.sources.refer import read_expressions
from curr_reft.errors import command
from curr_reft.files.json import Row


def refcoco_rows(
    refs: Path, instances: Path, dataset: str, split: str, sentences: str, image_prefix: str
) -> Iterator[Row | BadRecord]:
    """A row for each sentence of a split (`sentences`: `all`, or the `first` of each ref), in file order.

    Boxes are `[x1, y1, x2, y2]`, whole pixels of the stored image; ids are `DATASET:REF_ID:SENT_ID`.

    Raises:
        InputError: when a file is not of the layout, or no ref is in the split.
    """
    for found in read_expressions(refs, instances, split, sentences, image_prefix):
        if isinstance(found, BadRecord):
            yield found
        else:
            answer = json.dumps(list(found.box))
            yield make_row(f"{dataset}:{found.id}", found.problem, answer, "detection", found.image)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows of one split."""
    parser = builder_parser(__doc__, image_prefix="images/coco/train2014")
    parser.add_argument("--refs", type=Path, required=True, help="such as refcoco/refs(unc).p")
    parser.add_argument("--instances", type=Path, required=True, help="such as refcoco/instances.json")
    parser.add_argument("--dataset", choices=("refcoco", "refcoco+", "refcocog"), default="refcoco")
    parser.add_argument("--split", choices=("train", "val", "testA", "testB", "test"), default="train")
    parser.add_argument("--sentences", choices=("first", "all"), default="all", help="of each ref")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = refcoco_rows(
        arguments.refs,
        arguments.instances,
        arguments.dataset,
        arguments.split,
        arguments.sentences,
        arguments.image_prefix,
    )
    write_rows(arguments.output, rows, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
