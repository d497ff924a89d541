"""Judge and choice rows from open rows: ``python -m curr_reft.data.reformat ROWS.jsonl --judge FILE``."""

import logging
from collections.abc import Sequence
from pathlib import Path

from curr_reft.data.gold_boxes import box_faults
from curr_reft.data.images import check_images
from curr_reft.data.reformat.builder import choice_rows, judge_rows
from curr_reft.data.rows import write_rows
from curr_reft.data.schema import read_examples
from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.tasks.registry import add_tasks_flag, find_task


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the judge rows, the choice rows, or both."""
    parser = CommandParser(prog="python -m curr_reft.data.reformat", description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="+", metavar="ROWS.jsonl", help="open rows, of any tasks")
    parser.add_argument(
        "--image_root", type=Path, required=True, help="folder the rows' `image` is relative to"
    )
    parser.add_argument("--judge", type=Path, metavar="FILE", help="where to write the judge rows")
    parser.add_argument("--choice", type=Path, metavar="FILE", help="where to write the choice rows")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--drop_bad_rows", action="store_true", help="leave out rows that cannot be asked about"
    )
    add_tasks_flag(parser)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.judge is None and arguments.choice is None:
        raise InputError("--judge FILE or --choice FILE: say what to write")
    if arguments.judge and arguments.choice and arguments.judge.resolve() == arguments.choice.resolve():
        raise InputError("--judge and --choice would go to one file")
    examples = [row for path in arguments.rows for row in read_examples(path, arguments.image_root)]
    boxed = [example for example in examples if find_task(example.task).has_boxes]
    # A row whose image is bad is a bad record, for --drop_bad_rows to decide on.
    sizes = check_images(boxed, allow_missing=True)[0] if boxed else {}
    # Faults of single rows are the builder's to name; here a file in another frame stops all.
    box_faults(boxed, sizes)
    for path, build in ((arguments.judge, judge_rows), (arguments.choice, choice_rows)):
        if path is not None:
            outcomes = build(examples, sizes, arguments.image_root, arguments.seed)
            write_rows(path, outcomes, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
