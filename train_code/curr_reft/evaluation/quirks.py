"""Where the released scoring differs from this project's, and how often.

    python -m curr_reft.evaluation.quirks DIR

DIR holds rows the released code was run on (`tests/golden`). They were written to provoke the quirks: the
shares say which rule a quirk touches, not how often a model meets it.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curr_reft.answers.reading import Reading
from curr_reft.errors import InputError, command
from curr_reft.evaluation.quirk_list import QUIRKS, THOUGHT, Case, Quirk
from curr_reft.files.cli import CommandParser
from curr_reft.rewards import paper, released, released_evaluation
from curr_reft.rewards.format import score_format
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import scorings
from curr_reft.tasks.score import GoldError

_STAGE_FILES = {f"stage{stage.number}": stage.name for stage in STAGES.values()}
_SUITE_FILES = ("eval_main", "eval_refgta")
_COLUMNS = (*STAGES, "evaluation")


def gain(case: Case, of_format: bool) -> float:
    """The released reward less this project's; a row that this project refuses earns nothing from it."""
    if of_format:
        row = case.where, case.task, case.completion
        return released.score_format(*row).reward - score_format(*row).reward
    return released_reward(case) - own_reward(case)


def released_reward(case: Case) -> float:
    """The released accuracy of a case."""
    if case.where in STAGES:
        return released.score(case.where, case.task, case.completion, case.gold).reward
    return released_evaluation.score(case.where, case.completion, _example(case)).reward


def own_reward(case: Case, reading: Reading = "strict") -> float:
    """This project's accuracy of a case: `paper` in training, that of its suite in evaluation."""
    if case.where not in STAGES:
        return scorings()[case.where][1].score(case.completion, _example(case), reading).reward
    try:
        return paper.score(case.where, case.task, case.completion, case.gold, reading).reward
    except GoldError:
        return 0.0


def _example(case: Case) -> dict[str, Any]:
    return case.gold if case.where == "refgta" else {"solution": case.gold}


def read_cases(directory: Path) -> list[Case]:
    """The cases of `stage1`, `stage2`, `stage3`, `eval_main` and `eval_refgta` (``NAME.jsonl.gz``).

    Raises:
        InputError: when a file cannot be read.
    """
    cases = []
    for name in (*_STAGE_FILES, *_SUITE_FILES):
        path = directory / f"{name}.jsonl.gz"
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
        if name in _STAGE_FILES:
            stage = _STAGE_FILES[name]
            cases += [Case(stage, row["task"], row["completion"], row["solution"]) for row in rows]
            continue
        for row in rows:
            suite = row.get("item_add", "refgta")
            if suite in scorings():
                gold = row["example"] if suite == "refgta" else row["example"]["solution"]
                cases.append(Case(suite, row["task"], row["model_output"], gold))
    return cases


def _column(case: Case) -> str:
    return case.where if case.where in STAGES else "evaluation"


def quirk_table(cases: Sequence[Case]) -> str:
    """A Markdown table: each quirk, its example's rewards, and the share of cases whose reward it changes.

    Shares are of what differs strictly read; beside an example stands what its tolerant reading earns.
    A case counts for a quirk that touches it when its rewards differ the way the example's do, so it may
    count for several. The last row holds the cases whose accuracy differs and that no quirk touches.
    """
    totals = Counter(map(_column, cases))
    lines = [
        f"| released | here | example: answer, gold | released, here | tolerant | {' | '.join(_COLUMNS)} |",
        f"|---|---|---|---|---|{'---:|' * len(_COLUMNS)}",
    ]
    gains = {
        of_format: [
            (case, gain(case, of_format))
            for case in tqdm(cases, desc=kind, unit="row", disable=None)
            if not of_format or case.where in STAGES
        ]
        for of_format, kind in ((False, "accuracy"), (True, "format"))
    }

    def shares(counts: Counter) -> str:
        cells = (f"{counts[name] / totals[name]:.1%}" if counts[name] else "" for name in _COLUMNS)
        return " | ".join(cells)

    explained = set()
    for quirk in QUIRKS:
        sign = gain(quirk.example, quirk.of_format) > 0
        touched = [
            case
            for case, change in gains[quirk.of_format]
            if change and (change > 0) == sign and quirk.touches(case)
        ]
        explained.update(() if quirk.of_format else map(id, touched))
        counts = shares(Counter(map(_column, touched)))
        lines.append(f"| {quirk.released} | {quirk.here} | {_shown(quirk)} | {counts} |")
    rest = [case for case, change in gains[False] if change and id(case) not in explained]
    lines.append(f"| none of these | | | | | {shares(Counter(map(_column, rest)))} |")
    counts = ", ".join(f"{name} {totals[name]}" for name in _COLUMNS)
    return "\n".join([*lines, "", f"Rows: {counts}."])


def _shown(quirk: Quirk) -> str:
    example = quirk.example
    gold = example.gold if isinstance(example.gold, str) else json.dumps(example.gold)
    if quirk.of_format:
        row = example.where, example.task, example.completion
        rewards = released.score_format(*row).reward, score_format(*row).reward
    else:
        rewards = released_reward(example), own_reward(example)
    outcome = ", ".join(f"{reward:.3g}" for reward in rewards)
    # The format is what it is, however an answer is read.
    tolerant = "" if quirk.of_format else f"{own_reward(example, 'tolerant'):.3g}"
    return f"`{example.completion.removeprefix(THOUGHT)}`, `{gold}` | {outcome} | {tolerant}"


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table to standard output."""
    parser = CommandParser(prog="python -m curr_reft.evaluation.quirks", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    sys.stdout.write(quirk_table(read_cases(parser.parse_args(argv).directory)) + "\n")


if __name__ == "__main__":
    main()
