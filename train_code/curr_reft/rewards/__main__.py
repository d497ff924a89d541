"""Score completions, and say why: ``python -m curr_reft.rewards --stage open ROWS.jsonl > SCORED.jsonl``.

Rows have `task`, `completion` and `solution`; `accuracy` and `format` are added, other fields pass through.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from curr_reft.annotate import Row, annotate_file, required
from curr_reft.command_line import CommandParser
from curr_reft.errors import command
from curr_reft.rewards.score import Score
from curr_reft.rewards.variants import VARIANTS
from curr_reft.stages import STAGES


def score_row(stage: str, variant: str, row: Row) -> dict[str, Score]:
    """The two rewards of a row.

    Raises:
        InputError: when the row lacks a field, or the variant refuses its task or gold.
    """
    task, completion, solution = (required(row, field, str) for field in ("task", "completion", "solution"))
    rewards = VARIANTS[variant]
    return {
        "accuracy": rewards.score(stage, task, completion, solution),
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
        "--explain", action="store_true", help="add what was parsed and the rule that applied"
    )
    arguments = parser.parse_args(argv)
    annotate_file(arguments.rows, partial(score_row, arguments.stage, arguments.variant), arguments.explain)


if __name__ == "__main__":
    main()
