"""Score completions, and say why: ``python -m curr_reft.rewards --stage open ROWS.jsonl > SCORED.jsonl``.

Rows have `task`, `completion` and `solution`, and `problem` where the tolerant reading should know options;
`accuracy` and `format` are added, other fields pass through.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from curr_reft.answers.reading import READINGS, Reading
from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.files.json import Row
from curr_reft.rewards import paper
from curr_reft.rewards.annotate import annotate_file, required
from curr_reft.rewards.variants import VARIANTS
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import add_tasks_flag
from curr_reft.tasks.score import Score


def score_row(stage: str, variant: str, reading: Reading, row: Row) -> dict[str, Score]:
    """The two rewards of a row; `reading` is the accuracy's, the format is what it is.

    Raises:
        InputError: when the row lacks a field, or the variant refuses its task or gold.
    """
    task, completion, solution = (required(row, field, str) for field in ("task", "completion", "solution"))
    rewards = VARIANTS[variant]
    if reading == "tolerant":
        problem = required(row, "problem", str) if "problem" in row else ""
        accuracy = paper.score(stage, task, completion, solution, reading, problem)
    else:
        accuracy = rewards.score(stage, task, completion, solution)
    return {
        "accuracy": accuracy,
        "format": rewards.score_format(stage, task, completion),
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the scored rows to standard output."""
    parser = CommandParser(prog="python -m curr_reft.rewards", description=__doc__)
    parser.add_argument("rows", type=Path, metavar="ROWS.jsonl")
    parser.add_argument("--stage", choices=list(STAGES), required=True)
    parser.add_argument("--variant", choices=list(VARIANTS), default="paper")
    parser.add_argument(
        "--reading", choices=READINGS, default="strict", help="of variant paper: how an answer is found"
    )
    parser.add_argument(
        "--explain", action="store_true", help="add what was parsed and the rule that applied"
    )
    add_tasks_flag(parser)
    arguments = parser.parse_args(argv)
    if (arguments.variant, arguments.reading) == ("released", "tolerant"):
        raise InputError("--reading tolerant: the released variant has its own reading; use --variant paper")
    score = partial(score_row, arguments.stage, arguments.variant, arguments.reading)
    annotate_file(arguments.rows, score, arguments.explain)


if __name__ == "__main__":
    main()
