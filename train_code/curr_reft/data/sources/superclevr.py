"""Super-CLEVR to out-of-domain counting rows: ``python -m curr_reft.data.sources.superclevr``.

Reads one of three files: the questions or scenes of https://github.com/Lizw14/Super-CLEVR, in CLEVR's format,
or the released test file `superclevr_test200_counting_problems.jsonl`, whose golds are integers and whose
image paths are those of another machine.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from curr_reft.answers.counts import parse_number
from curr_reft.data.rows import BadRecord, make_row, write_rows
from curr_reft.data.sources.annotations import RecordError, field, identifier, image_path, records, text
from curr_reft.data.sources.flags import builder_parser
from curr_reft.errors import command
from curr_reft.files.json import Row, read_json
from curr_reft.files.json_lines import BrokenLine, read_json_lines

COUNT_ALL = "How many different items are there in the image?"
"""The problem of every row of the released test file."""

SPLITS = {"train": range(20_000), "val": range(20_000, 25_000), "test": range(25_000, 30_000)}
"""The numbers of each split's images, from Super-CLEVR's README."""
_IMAGE_NUMBER = re.compile(r"[0-9]{1,9}\Z")


def question_rows(questions: Path, split: str, image_prefix: str) -> Iterator[Row | BadRecord]:
    """A row for each question whose answer is a count, in file order; other questions are passed over.

    Ids are `superclevr:IMAGE:QUESTION_INDEX`. Raises `InputError` for a file of another form.
    """
    for index, question in enumerate(records(read_json(questions), "questions", questions)):
        try:
            image = image_path(image_prefix, text(question, "image_filename"))
            if not _is_in(split, image):
                continue
            answer = field(question, "answer", int, str, bool)
            count = parse_number(answer) if isinstance(answer, str) else answer
            if count is None or isinstance(count, bool):
                continue
            row_id = f"{PurePosixPath(image).stem}:{identifier(question, 'question_index')}"
            yield _row(row_id, text(question, "question"), count, image)
        except RecordError as error:
            yield BadRecord(f"{questions}: questions[{index}]", str(error))


def scene_rows(scenes: Path, split: str, image_prefix: str) -> Iterator[Row | BadRecord]:
    """A row for each scene, asking for the number of all its objects, in file order.

    Ids are `superclevr:IMAGE`. Raises `InputError` for a file of another form.
    """
    for index, scene in enumerate(records(read_json(scenes), "scenes", scenes)):
        try:
            image = image_path(image_prefix, text(scene, "image_filename"))
            if not _is_in(split, image):
                continue
            objects = field(scene, "objects", list)
            if not objects:
                raise RecordError("objects: empty")
            yield _row(PurePosixPath(image).stem, COUNT_ALL, len(objects), image)
        except RecordError as error:
            yield BadRecord(f"{scenes}: scenes[{index}]", str(error))


def released_rows(released: Path, image_prefix: str) -> Iterator[Row | BadRecord]:
    """The rows of the released test file, their images moved to the prefix; ids are `superclevr:LINE`.

    Raises `InputError` when the file cannot be read.
    """
    for number, row in read_json_lines(released):
        try:
            if isinstance(row, BrokenLine):
                raise RecordError(row)
            image = image_path(image_prefix, PurePosixPath(text(row, "image")).name)
            yield _row(str(number), text(row, "problem"), field(row, "solution", int), image)
        except RecordError as error:
            yield BadRecord(f"{released}:{number}", str(error))


def _is_in(split: str, image: str) -> bool:
    if split == "all":
        return True
    number = _IMAGE_NUMBER.search(PurePosixPath(image).stem)
    if number is None:
        raise RecordError("image_filename: ends on no image number, which tells the split")
    return int(number[0]) in SPLITS[split]


def _row(row_id: str, problem: str, count: int, image: str) -> Row:
    if count < 0 or parse_number(str(count)) is None:
        raise RecordError("answer: no count")
    return make_row(f"superclevr:{row_id}", problem, str(count), "math", image)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows of one file."""
    parser = builder_parser(__doc__, image_prefix="images/superclevr")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--questions", type=Path, help="such as superCLEVR_questions_30k.json")
    source.add_argument("--scenes", type=Path, help="such as superCLEVR_scenes.json")
    source.add_argument("--released", type=Path, help="superclevr_test200_counting_problems.jsonl")
    parser.add_argument(
        "--split", choices=(*SPLITS, "all"), default="test", help="of questions or scenes (default test)"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.questions:
        rows = question_rows(arguments.questions, arguments.split, arguments.image_prefix)
    elif arguments.scenes:
        rows = scene_rows(arguments.scenes, arguments.split, arguments.image_prefix)
    else:
        rows = released_rows(arguments.released, arguments.image_prefix)
    write_rows(arguments.output, rows, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
