"""The accuracy reward as the paper states it (section 3.2, eq. 2 to 7), on answers compared as values."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from curr_reft.answers import maths
from curr_reft.answers.expressions import to_latex
from curr_reft.answers.options import parse_gold_options
from curr_reft.answers.reading import (
    DETECTION,
    LABELS,
    MATH,
    OPTIONS,
    VERDICT,
    Answer,
    Kind,
    Reading,
    read_strictly,
    read_tolerantly,
)
from curr_reft.answers.region import extract_answer
from curr_reft.boxes import Box, iou
from curr_reft.errors import InputError
from curr_reft.rewards.score import MATH_TIMEOUT, GoldError, Score
from curr_reft.stages import STAGES, TASKS

_IOU_THRESHOLD = 0.5
"""τ of eq. 6; the value is *ours*, the paper gives none."""
_MEAN_IOU_TO_BEAT = 0.5
"""The bound of eq. 7."""
_PART_OF_THE_OPTIONS = 0.2
"""The middle value of eq. 4."""


def score(
    stage: str, task: str, completion: str, solution: str, reading: Reading = "strict", problem: str = ""
) -> Score:
    """The accuracy reward of a completion, in [0, 1], and the rule that gave it; no completion raises.

    Args:
        stage: `judge`, `choice` or `open`.
        task: `detection`, `classify` (or `classification`) or `math`.
        completion: A whole text; strictly read, its last closed answer block counts.
        solution: A whole text, of which the last closed answer block is the gold.
        reading: How the answer is found in the completion.
        problem: May list options, one of which a tolerantly read answer may spell out.

    Raises:
        GoldError: for a solution without a gold, or a task the stage does not know.
    """
    gold, rule = _gold(stage, task, solution)
    return score_reading(completion, rule.kind, partial(_scored, gold, rule), reading, problem)


def score_reading(
    completion: str, kind: Kind, compare: Callable[[Answer], Score], reading: Reading, problem: str = ""
) -> Score:
    """The score of the answer that a reading finds; what the strict one is paid for, the tolerant one is."""
    strictly = read_strictly(completion, kind)
    strict = compare(strictly)
    if reading == "strict" or strict.reward == 1:
        return strict
    tolerantly = read_tolerantly(completion, kind, problem)
    if tolerantly[:2] == strictly[:2]:
        return strict
    tolerant = compare(tolerantly)
    return tolerant if tolerant.reward >= strict.reward else strict


def check_gold(stage: str, task: str, solution: str) -> None:
    """Raise the `GoldError` that scoring a completion of this row would raise; for use before training."""
    _gold(stage, task, solution)


def score_judge(verdict: bool, gold: bool) -> Score:
    """Eq. 2: 1 if the verdicts are equal, else 0."""
    return Score(float(verdict is gold), "eq. 2: verdicts, compared", verdict, gold)


def score_choice(chosen: frozenset[str], gold: frozenset[str]) -> Score:
    """Eq. 3 and 4 on sets of letters: 1 if equal, 0.2 for a non-empty proper subset of the gold, else 0."""
    if chosen < gold:
        return Score(_PART_OF_THE_OPTIONS, "eq. 4: a part of the options", chosen, gold)
    return Score(float(chosen == gold), "eq. 3: options, compared", chosen, gold)


def score_classify(labels: frozenset[str], gold: frozenset[str]) -> Score:
    """Eq. 5: |P ∩ G| / |P ∪ G| on label sets."""  # noqa: RUF002
    return Score(len(labels & gold) / len(labels | gold), "eq. 5: IoU of label sets", labels, gold)


def score_detection(boxes: tuple[Box, ...], gold: tuple[Box, ...]) -> Score:
    """Eq. 6 and 7: 1 if the mean IoU over the matched pairs with IoU ≥ τ exceeds 0.5, else 0.

    No boxes are `No Objects`, and only those words earn 1 where they are the gold. *Ours*: boxes are matched
    one to one, greedily by descending IoU, and more answer boxes than gold boxes earn 0, since eq. 6 alone
    would reward listing every box. With τ = 0.5 the equations ask for one pair above 0.5, however many boxes
    the gold has.
    """
    if not gold:
        return Score(float(not boxes), "the gold is No Objects", boxes, gold)
    if not boxes:
        return Score(0.0, "the answer is No Objects", boxes, gold)
    if len(boxes) > len(gold):
        return Score(0.0, "more boxes than the gold has", boxes, gold)
    valid = [overlap for overlap in matched_overlaps(boxes, gold) if overlap >= _IOU_THRESHOLD]
    mean = sum(valid) / len(valid) if valid else 0.0
    rule = f"eq. 6 and 7: mean IoU {mean:.3f} over {len(valid)} valid pairs"
    return Score(float(mean > _MEAN_IOU_TO_BEAT), rule, boxes, gold)


def score_option(chosen: frozenset[str], gold: frozenset[str]) -> Score:
    """1 if the option letters are those of a math gold that is letters, else 0. *Ours*."""
    return Score(float(chosen == gold), "the gold is option letters: options, compared", chosen, gold)


def score_math(answer: str, gold: str) -> Score:
    """1 if the answer equals the gold, else 0. *Ours*."""
    verdict = maths.compare(answer, gold)
    incident = MATH_TIMEOUT if verdict is maths.Verdict.TIMEOUT else None
    read = [to_latex(text) or text for text in (answer, gold)]
    return Score(float(verdict is maths.Verdict.EQUAL), f"math: {verdict.value}", *read, incident)


def matched_overlaps(boxes: tuple[Box, ...], gold: tuple[Box, ...]) -> list[float]:
    """IoU of the pairs of a one-to-one matching, greedy by descending IoU, the largest first. *Ours*."""
    pairs = [(iou(a, b), i, j) for i, a in enumerate(boxes) for j, b in enumerate(gold)]
    used_boxes: set[int] = set()
    used_gold: set[int] = set()
    overlaps = []
    for overlap, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if i not in used_boxes and j not in used_gold:
            used_boxes.add(i)
            used_gold.add(j)
            overlaps.append(overlap)
    return overlaps


@dataclass(frozen=True)
class _Rule:
    """How the answers of a stage or task are scored."""

    kind: Kind
    score: Callable[[Any, Any], Score]
    wanted: str
    """What an answer must be, as in "the answer is no …"."""
    example: str
    """What to write as a gold."""


def _scored(gold: Any, rule: _Rule, answer: Answer) -> Score:
    if answer.value is not None:
        result = rule.score(answer.value, gold)
    elif answer.text is None:
        result = Score(0.0, answer.rule, None, gold)
    else:
        result = Score(0.0, f"the answer is no {rule.wanted}", answer.text, gold)
    return result._replace(found=answer.rule)


def _rule(stage: str, task: str) -> _Rule:
    """The stage's own rule in judge and choice, the task's in open."""
    task = "classify" if task == "classification" else task
    if stage not in STAGES:
        raise InputError(f"unknown stage {stage!r}: use one of {', '.join(STAGES)}")
    if task not in TASKS:
        raise GoldError(f"unknown task {task[:40]!r}: use one of {', '.join(TASKS)}")
    return _RULES[task if stage == "open" else stage]


@lru_cache(maxsize=64)
def _gold(stage: str, task: str, solution: str) -> tuple[Any, _Rule]:
    """The parsed gold of a row, parsed once for all completions of a group, and the rule that scores them."""
    rule = _rule(stage, task)
    answer = extract_answer(solution)
    if rule.kind is MATH and answer and (options := parse_gold_options(answer)):
        return options, _RULES["option"]
    gold = rule.kind.parse(answer) if answer else None
    if gold is None:
        shown = solution if len(solution) <= 80 else f"{solution[:77]}..."
        raise GoldError(
            f"solution {shown!r} holds no gold for stage {stage}, task {task}: write {rule.example}"
        )
    return gold, rule


_RULES = {
    "judge": _Rule(VERDICT, score_judge, "verdict", "<answer>yes</answer> or <answer>no</answer>"),
    "choice": _Rule(OPTIONS, score_choice, "list of options", "option letters, as in <answer>A, C</answer>"),
    "detection": _Rule(
        DETECTION,
        score_detection,
        "box",
        "a box, as in <answer>[10, 20, 110, 220]</answer>, or <answer>No Objects</answer>",
    ),
    "classify": _Rule(
        LABELS, score_classify, "label", "labels, as in <answer>person, traffic light</answer>"
    ),
    "math": _Rule(MATH, score_math, "value", "the value, as in <answer>35</answer>"),
    "option": _Rule(OPTIONS, score_option, "list of options", "option letters"),
}
