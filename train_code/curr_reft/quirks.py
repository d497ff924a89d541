"""Where the released scoring differs from this project's, and how often: ``python -m curr_reft.quirks DIR``.

DIR holds rows the released code was run on (`tests/golden`). They were written to provoke the quirks: the
shares say which rule a quirk touches, not how often a model meets it.
"""

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curr_reft.errors import InputError, command
from curr_reft.evaluation import released as released_scoring
from curr_reft.evaluation import strict
from curr_reft.rewards import maths, paper, released
from curr_reft.rewards.answers import (
    extract_answer,
    parse_boxes,
    parse_labels,
    parse_options,
    parse_yes_no,
)
from curr_reft.rewards.format import format_reward
from curr_reft.rewards.released_answers import (
    clipped_answer,
    closed_block,
    items,
    options,
    tagged_answer,
    yes_no,
)
from curr_reft.rewards.score import GoldError
from curr_reft.stages import STAGES

_STAGE_FILES = {f"stage{stage.number}": stage.name for stage in STAGES.values()}
_SUITE_FILES = ("eval_main", "eval_refgta")
_COLUMNS = (*STAGES, "evaluation")
_THOUGHT = "<think>t</think>"
"""Left out where the table shows an example."""


@dataclass(frozen=True)
class Case:
    """A completion to score: in training (`where` is a stage) or in evaluation (`where` is a suite)."""

    where: str
    task: str
    completion: str
    gold: Any
    """The solution; for RefGTA the whole dataset row."""

    def answer(self) -> str:
        return tagged_answer(self.completion) or ""

    def gold_answer(self) -> str:
        return tagged_answer(str(self.gold)) or ""


@dataclass(frozen=True)
class Quirk:
    """A rule of the released code, an example, and the test for cases that it touches."""

    released: str
    here: str
    example: Case
    touches: Callable[[Case], bool]
    of_format: bool = False


def rewards(case: Case, of_format: bool) -> tuple[float, float]:
    """The released and this project's reward; a row that this project refuses earns nothing from it."""
    if of_format:
        row = case.where, case.task, case.completion
        return released.format_reward(*row), format_reward(*row)
    if case.where in STAGES:
        row = case.where, case.task, case.completion, case.gold
        try:
            ours = paper.score(*row).reward
        except GoldError:
            ours = 0.0
        return released.score(*row).reward, ours
    example = case.gold if case.where == "refgta" else {"solution": case.gold}
    row = case.where, case.completion, example
    return released_scoring.score(*row).reward, strict.score(*row).reward


def _tagged(answer: str, thought: str = _THOUGHT) -> str:
    return f"{thought}<answer>{answer}</answer>"


def _training(stage: str, task: str, completion: str, gold: str) -> Case:
    return Case(stage, task, completion, f"<answer>{gold}</answer>")


def _is(*places: str) -> Callable[[Case], bool]:
    """Whether a case is in one of these places: a stage, a suite, or a stage and a task as ``open math``."""
    return lambda case: case.where in places or f"{case.where} {case.task}" in places


_open_math = _is("open math", "math_in")
_labels = _is("open classify", "classify_in", "classify_out")

QUIRKS = (
    Quirk(
        "math is right when neither text holds a lone letter A to E",
        "options count only where the gold is one",
        _training("open", "math", _tagged("banana"), "35"),
        lambda case: _open_math(case) and options(case.answer()) == options(case.gold_answer()) == "",
    ),
    Quirk(
        "math is right when one text holds the other, and the empty text is in every other",
        "equality of values or of texts",
        _training("open", "math", _tagged(""), "35"),
        lambda case: (
            _open_math(case) and (case.answer() in case.gold_answer() or case.gold_answer() in case.answer())
        ),
    ),
    Quirk(
        "math-verify reads everything, thoughts too, and takes the completion for the gold",
        "math-verify reads the two answers, gold first",
        _training("judge", "math", _tagged("no", "<think>$x=5$</think>"), "yes $x=5$"),
        lambda case: (
            _is("judge math", "open math", "math_in")(case)
            and maths.compare_whole_texts(case.completion, str(case.gold)) is maths.Verdict.EQUAL
        ),
    ),
    Quirk(
        "yes, true or correct anywhere is a yes",
        "the whole answer is the verdict",
        _training("judge", "classify", _tagged("not correct"), "yes"),
        lambda case: (
            _is("judge")(case)
            and yes_no(case.answer()) is not None
            and parse_yes_no(extract_answer(case.completion) or "") is None
        ),
    ),
    Quirk(
        "a choice is right when neither text holds a letter A to E",
        "no letters, no reward; letters A to Z",
        _training("choice", "classify", _tagged("G"), "F"),
        lambda case: (
            _is("choice")(case)
            and tagged_answer(case.completion) is not None
            and options(case.answer()) == options(case.gold_answer()) == ""
        ),
    ),
    Quirk(
        "lone letters in prose are options",
        "the whole answer is a list of letters",
        _training("choice", "classify", _tagged("a dog"), "A"),
        lambda case: (
            _is("choice")(case) and options(case.answer()) != "" and parse_options(case.answer()) is None
        ),
    ),
    Quirk(
        "options must come in the gold's order",
        "options are a set",
        _training("choice", "classify", _tagged("C, A"), "A,C"),
        lambda case: (
            _is("choice")(case)
            and parse_options(case.answer()) is not None
            and parse_options(case.answer()) == parse_options(case.gold_answer())
        ),
    ),
    Quirk(
        "a part of the right options earns nothing",
        "0.2, as in eq. 4",
        _training("choice", "classify", _tagged("A"), "A,C"),
        lambda case: (
            _is("choice")(case)
            and (parse_options(case.answer()) or set()) < (parse_options(case.gold_answer()) or set())
        ),
    ),
    Quirk(
        "an answer that is not closed counts, in detection and classification without its last character",
        "only a closed block is an answer",
        _training("judge", "classify", "<answer>yes I think", "yes"),
        lambda case: closed_block(case.completion) is None and tagged_answer(case.completion) is not None,
    ),
    Quirk(
        "without tags the whole completion is the answer",
        "no tags, no answer",
        _training("open", "detection", "It is at [10, 20, 110, 220]", "[10, 20, 110, 220]"),
        lambda case: (
            _is("open", "classify_in", "classify_out", "math_in")(case)
            and clipped_answer(case.completion) is None
        ),
    ),
    Quirk(
        "the first block is the answer",
        "the last block is",
        _training("judge", "classify", "<answer>no</answer> wait <answer>yes</answer>", "yes"),
        lambda case: (
            closed_block(case.completion) is not None
            and closed_block(case.completion) != extract_answer(case.completion)
        ),
    ),
    Quirk(
        "a list in brackets earns nothing in training (`ast` is not imported)",
        "lists are read",
        _training("open", "classify", _tagged('["person", "car"]'), "person, car"),
        lambda case: _is("open classify")(case) and "[" in (clipped_answer(case.completion) or ""),
    ),
    Quirk(
        "labels are split on white space; case and a final dot count",
        "labels are split on commas and compared without case",
        _training("open", "classify", _tagged("light traffic"), "traffic light"),
        lambda case: (
            _labels(case)
            and "[" not in case.answer()
            and any(parse_labels(text) != set(items(text)) for text in (case.answer(), case.gold_answer()))
        ),
    ),
    Quirk(
        "the last of several boxes counts, in prose too",
        "no more boxes than the gold has, as JSON",
        _training("open", "detection", _tagged("[0, 0, 5, 5] or [10, 20, 110, 220]"), "[10, 20, 110, 220]"),
        lambda case: _is("open detection", "detection_in", "refgta")(case) and case.answer().count("[") > 1,
    ),
    Quirk(
        "an overlap one pixel wide is none",
        "IoU is exact",
        _training("open", "detection", _tagged("[5, 5, 6, 9]"), "[5, 5, 6, 9]"),
        lambda case: (
            _is("open detection", "detection_in")(case)
            and any(min(x2 - x1, y2 - y1) <= 1 for x1, y1, x2, y2 in parse_boxes(case.gold_answer()) or [])
        ),
    ),
    Quirk(
        "a superset of the labels is right, and every answer is when the gold is empty",
        "equal label sets",
        Case("classify_in", "classify", _tagged("person, car, dog, bus"), "<answer>person, car</answer>"),
        lambda case: _is("classify_in", "classify_out")(case),
    ),
    Quirk(
        "a count is right when its digits stand anywhere in the output",
        "the answer is the number",
        Case("math_out", "math", _tagged("13"), 3),
        _is("math_out"),
    ),
    Quirk(
        "RefGTA: right in any of three pixel frames, in one of them above 0.49",
        "the frame of the picture shown, above 0.5",
        Case(
            "refgta",
            "detection",
            _tagged("[700, 320, 940, 880]"),
            {
                "solution": [700, 320, 940, 880],
                "normalized_solution": [365, 296, 490, 815],
                "resize_solution": [318, 145, 427, 399],
            },
        ),
        _is("refgta"),
    ),
    Quirk(
        "format: detection rows must hold a JSON box in judge and choice too",
        "only in the open stage",
        _training("judge", "detection", _tagged("yes"), "yes"),
        _is("judge detection", "choice detection"),
        of_format=True,
    ),
    Quirk(
        "format: doubled tags and empty blocks pass, a final newline does not",
        "each tag once, an answer, white space around is fine",
        _training("open", "math", "<think><think></think><answer></answer>", "35"),
        lambda case: _is("judge", "choice", "open")(case) and case.task != "detection",
        of_format=True,
    ),
)


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
            if suite in strict.SUITES:
                gold = row["example"] if suite == "refgta" else row["example"]["solution"]
                cases.append(Case(suite, row["task"], row["model_output"], gold))
    return cases


def _column(case: Case) -> str:
    return case.where if case.where in STAGES else "evaluation"


def quirk_table(cases: Sequence[Case]) -> str:
    """A Markdown table: each quirk, its example's rewards, and the share of cases whose reward it changes.

    A case counts for a quirk that touches it when the two rewards differ, so it may count for several.
    """
    totals = Counter(map(_column, cases))
    differing = {
        of_format: [
            case
            for case in tqdm(cases, desc=kind, unit="row", disable=None)
            if not (of_format and _column(case) == "evaluation") and len(set(rewards(case, of_format))) == 2
        ]
        for of_format, kind in ((False, "accuracy"), (True, "format"))
    }
    lines = [
        f"| released | here | example: answer, gold | released, here | {' | '.join(_COLUMNS)} |",
        f"|---|---|---|---|{'---:|' * len(_COLUMNS)}",
    ]
    for quirk in QUIRKS:
        touched = Counter(_column(case) for case in differing[quirk.of_format] if quirk.touches(case))
        shares = [f"{touched[name] / totals[name]:.1%}" if touched[name] else "" for name in _COLUMNS]
        example = quirk.example
        gold = example.gold if isinstance(example.gold, str) else json.dumps(example.gold)
        shown = f"`{example.completion.removeprefix(_THOUGHT)}`, `{gold}`"
        outcome = ", ".join(f"{reward:.3g}" for reward in rewards(example, quirk.of_format))
        lines.append(f"| {quirk.released} | {quirk.here} | {shown} | {outcome} | {' | '.join(shares)} |")
    counts = ", ".join(f"{name} {totals[name]}" for name in _COLUMNS)
    return "\n".join([*lines, "", f"Rows: {counts}."])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table to standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m curr_reft.quirks", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    sys.stdout.write(quirk_table(read_cases(parser.parse_args(argv).directory)) + "\n")


if __name__ == "__main__":
    main()
