r"""MathV360K and Geo170K to math rows: ``python -m curr_reft.data.sources.math_conversations``.

Reads `train_samples_all_tuning.json` of https://huggingface.co/datasets/Zhiqiang007/MathV360K and
`qa_tuning.json` of https://huggingface.co/datasets/Luckyjhg/Geo170K. Both are arrays of LLaVA conversations:
`image`, and `conversations` of two turns, `{"from": "human", "value": "<image>\n…"}` and
`{"from": "gpt", "value": "… The answer is 58"}`. Geo170K ends on `Answer:B`.
"""

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from curr_reft.answers.expressions import to_latex
from curr_reft.answers.options import parse_options
from curr_reft.answers.verdicts import parse_yes_no
from curr_reft.data.rows import BadRecord, make_row, write_rows
from curr_reft.data.sources.annotations import RecordError, field, image_path, text
from curr_reft.data.sources.flags import builder_parser
from curr_reft.errors import InputError, command
from curr_reft.files.json import Row, read_json

logger = logging.getLogger(__name__)

OPTION_HINT = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
)
"""MathV360K's words (from MathVista) where the gold is an option letter."""
_OTHER_FORMATS = (
    "First perform reasoning, then finally select the question from the choices in the following format:"
    " Answer: xxx.",
    "Based on the image, directly select the correct answer for the following question:",
)
"""Geo170K's instructions. They contradict the answer tags that a stage asks for: the hint replaces them."""

_WITHOUT = {"mathv360k": ("Super-CLEVR",), "geo170k": ()}
"""The default of `--without`: Super-CLEVR's images belong to the out-of-domain math test."""

_FINAL_ANSWER = re.compile(r"\\boxed(?=\{)|\banswer\s*(?::|is\b:?)\s*", re.IGNORECASE)
_OPTION_WITH_TEXT = re.compile(r"(?:\(([A-H])\)|([A-H])[.:)]).*")


def math_rows(
    conversations: Path, dataset: str, subsets: Collection[str], without: Collection[str], image_prefix: str
) -> Iterator[Row | BadRecord]:
    """A row for each conversation, in file order; the gold is an option letter or a value.

    `subsets` selects by the first folder of the image's path (MathV360K: `Geometry3K`, `TabMWP` …), none
    selects all; `without` then leaves folders out, whatever their case and punctuation, and the log counts
    their records. Ids are `DATASET:INDEX`, from 0, for Geo170K has none of its own.

    Raises:
        InputError: for a file of another form, or for one of `subsets` that it does not have.
    """
    document = read_json(conversations)
    if not isinstance(document, list):
        raise InputError(f"{conversations}: expected an array of conversations")
    missing = set(subsets)
    unwanted = {_spelling(subset) for subset in without}
    left_out = 0
    for index, record in enumerate(document):
        try:
            name = text(record, "image")
            image = image_path(image_prefix, name)
            subset = PurePosixPath(name).parts[0]
            missing.discard(subset)
            if subsets and subset not in subsets:
                continue
            if _spelling(subset) in unwanted:
                left_out += 1
                continue
            problem, answer = _problem_and_answer(record)
            yield make_row(f"{dataset}:{index}", problem, answer, "math", image)
        except RecordError as error:
            yield BadRecord(f"{conversations}[{index}]", str(error))
    if left_out:
        logger.info("%s: records left out, of %s: %d", conversations, ", ".join(without), left_out)
    if missing:
        raise InputError(f"--subsets: no image of {conversations} is in {', '.join(sorted(missing))}")


def final_answer(solution: str) -> str | None:
    r"""The gold of a worked solution: what its last `\boxed{…}`, `Answer:` or `answer is` gives in its line.

    An option with its text is cut to its letter. `None` when it is neither one option letter nor a value: an
    expression that `answers.maths` compares, or yes or no.
    """
    marks = list(_FINAL_ANSWER.finditer(solution))
    if not marks:
        return None
    rest = solution[marks[-1].end() :]
    answer = _braced(rest) if marks[-1][0].startswith("\\") else rest.partition("\n")[0]
    answer = answer.strip().removesuffix(".").rstrip()
    option = _OPTION_WITH_TEXT.fullmatch(answer)
    if option:
        return option[1] or option[2]
    options = parse_options(answer)
    if options is not None:
        return min(options) if len(options) == 1 else None
    is_value = to_latex(answer) is not None and any(map(str.isalnum, answer))
    return answer if is_value or parse_yes_no(answer) is not None else None


def _spelling(folder: str) -> str:
    return "".join(filter(str.isalnum, folder.casefold()))


def _problem_and_answer(record: Any) -> tuple[str, str]:
    turns = field(record, "conversations", list)
    if [field(turn, "from", str) for turn in turns] != ["human", "gpt"]:
        raise RecordError("conversations: expected two turns, human and gpt")
    problem = text(turns[0], "value").replace("<image>", "").strip()
    for instruction in _OTHER_FORMATS:
        problem = problem.replace(instruction, OPTION_HINT)
    if not problem:
        raise RecordError("value: the question is empty")
    answer = final_answer(text(turns[1], "value"))
    if answer is None:
        raise RecordError("value: no final answer that is an option letter or a value")
    return problem, answer


def _braced(latex: str) -> str:
    """The content of the braces that a text opens with; nothing when they do not close."""
    depth = 0
    for position, character in enumerate(latex):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return latex[1:position]
    return ""


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write a row for each conversation."""
    parser = builder_parser(__doc__, image_prefix=None)
    parser.add_argument("--conversations", type=Path, required=True, help="such as qa_tuning.json")
    parser.add_argument("--dataset", choices=tuple(_WITHOUT), required=True)
    parser.add_argument(
        "--subsets",
        nargs="+",
        metavar="SUBSET",
        default=(),
        help="first folders of image paths (default all)",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        metavar="SUBSET",
        help="first folders to leave out, in any spelling (default for mathv360k: Super-CLEVR, whose images"
        " belong to the out-of-domain math test)",
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.image_prefix is None:
        arguments.image_prefix = f"images/{arguments.dataset}"
    if arguments.without is None:
        arguments.without = _WITHOUT[arguments.dataset]
    rows = math_rows(
        arguments.conversations,
        arguments.dataset,
        arguments.subsets,
        arguments.without,
        arguments.image_prefix,
    )
    write_rows(arguments.output, rows, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
