"""The accuracy reward as the paper states it (section 3.2, eq. 2 to 7), on answers compared as values."""

import functools
from typing import Any

from curr_reft.data.boxes import Box, iou
from curr_reft.errors import InputError
from curr_reft.rewards import maths
from curr_reft.rewards.answers import (
    extract_answer,
    is_no_objects,
    parse_boxes,
    parse_labels,
    parse_options,
    parse_yes_no,
)
from curr_reft.rewards.score import MATH_TIMEOUT, GoldError, Score
from curr_reft.stages import STAGES, TASKS

_IOU_THRESHOLD = 0.5
"""τ of eq. 6; the value is *ours*, the paper gives none."""
_MEAN_IOU_TO_BEAT = 0.5
"""The bound of eq. 7."""
_PART_OF_THE_OPTIONS = 0.2
"""The middle value of eq. 4."""


def score(stage: str, task: str, completion: str, solution: str) -> Score:
    """The accuracy reward of a completion, in [0, 1], and the rule that gave it; no completion raises.

    `stage` is judge, choice or open, `task` detection, classify (or classification) or math; `completion` and
    `solution` are whole texts, of which the last closed answer block counts.

    Raises:
        GoldError: for a solution without a gold, or a task the stage does not know.
    """
    gold = _gold(stage, task, solution)
    answer = extract_answer(completion)
    if answer is None:
        return Score(0.0, "no closed answer block", None, gold)
    return _SCORERS[_kind(stage, task)](answer, gold)


def check_gold(stage: str, task: str, solution: str) -> None:
    """Raise the `GoldError` that scoring a completion of this row would raise; for use before training."""
    _gold(stage, task, solution)


def score_judge(answer: str, gold: bool) -> Score:
    """Eq. 2: 1 if the verdicts are equal, else 0."""
    verdict = parse_yes_no(answer)
    if verdict is None:
        return Score(0.0, "the answer is no verdict", answer, gold)
    return Score(float(verdict is gold), "eq. 2: verdicts, compared", verdict, gold)


def score_choice(answer: str, gold: frozenset[str]) -> Score:
    """Eq. 3 and 4 on sets of letters: 1 if equal, 0.2 for a non-empty proper subset of the gold, else 0."""
    chosen = parse_options(answer)
    if chosen is None:
        return Score(0.0, "the answer is no list of options", answer, gold)
    if chosen < gold:
        return Score(_PART_OF_THE_OPTIONS, "eq. 4: a part of the options", chosen, gold)
    return Score(float(chosen == gold), "eq. 3: options, compared", chosen, gold)


def score_classify(answer: str, gold: frozenset[str]) -> Score:
    """Eq. 5: |P ∩ G| / |P ∪ G| on label sets."""  # noqa: RUF002
    labels = parse_labels(answer)
    return Score(len(labels & gold) / len(labels | gold), "eq. 5: IoU of label sets", labels, gold)


def score_detection(answer: str, gold: tuple[Box, ...]) -> Score:
    """Eq. 6 and 7: 1 if the mean IoU over the matched pairs with IoU ≥ τ exceeds 0.5, else 0.

    An empty `gold` means `No Objects`, and only those words earn 1. *Ours*: boxes are matched one to one,
    greedily by descending IoU, and more answer boxes than gold boxes earn 0, since eq. 6 alone would reward
    listing every box. With τ = 0.5 the equations ask for one pair above 0.5, however many boxes the gold has.
    """
    if not gold:
        return Score(float(is_no_objects(answer)), "the gold is No Objects", answer, gold)
    boxes = parse_boxes(answer)
    if not boxes:
        return Score(0.0, "the answer is no box", answer, gold)
    if len(boxes) > len(gold):
        return Score(0.0, "more boxes than the gold has", boxes, gold)
    valid = [overlap for overlap in matched_overlaps(boxes, gold) if overlap >= _IOU_THRESHOLD]
    mean = sum(valid) / len(valid) if valid else 0.0
    rule = f"eq. 6 and 7: mean IoU {mean:.3f} over {len(valid)} valid pairs"
    return Score(float(mean > _MEAN_IOU_TO_BEAT), rule, boxes, gold)


def score_math(answer: str, gold: str) -> Score:
    """1 if the answer equals the gold, as options where the gold is a single letter, else 0. *Ours*."""
    option = parse_options(gold)
    if option is not None and len(option) == 1:
        chosen = parse_options(answer)
        return Score(float(chosen == option), "the gold is one option: options, compared", chosen, option)
    verdict = maths.compare(answer, gold)
    incident = MATH_TIMEOUT if verdict is maths.Verdict.TIMEOUT else None
    read = [maths.to_latex(text) or text for text in (answer, gold)]
    return Score(float(verdict is maths.Verdict.EQUAL), f"math: {verdict.value}", *read, incident)


def matched_overlaps(boxes: list[Box], gold: tuple[Box, ...]) -> list[float]:
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


def _kind(stage: str, task: str) -> str:
    """Which rule scores a row: the stage's own in judge and choice, the task's in open."""
    task = "classify" if task == "classification" else task
    if stage not in STAGES:
        raise InputError(f"unknown stage {stage!r}: use one of {', '.join(STAGES)}")
    if task not in TASKS:
        raise GoldError(f"unknown task {task[:40]!r}: use one of {', '.join(TASKS)}")
    return task if stage == "open" else stage


@functools.lru_cache(maxsize=64)
def _gold(stage: str, task: str, solution: str) -> Any:
    """The parsed gold of a row, parsed once for all completions of a group."""
    kind = _kind(stage, task)
    answer = extract_answer(solution)
    gold = None
    if answer:
        gold = {
            "judge": parse_yes_no,
            "choice": parse_options,
            "detection": _gold_boxes,
            "classify": lambda text: parse_labels(text) or None,
            "math": str,
        }[kind](answer)
    if gold is None:
        shown = solution if len(solution) <= 80 else f"{solution[:77]}..."
        raise GoldError(f"solution {shown!r} holds no gold for stage {stage}, task {task}: {_EXPECTED[kind]}")
    return gold


def _gold_boxes(answer: str) -> tuple[Box, ...] | None:
    """The boxes of a gold, none for `No Objects`; `None` when it is neither."""
    return () if is_no_objects(answer) else tuple(parse_boxes(answer) or ()) or None


_SCORERS = {
    "judge": score_judge,
    "choice": score_choice,
    "detection": score_detection,
    "classify": score_classify,
    "math": score_math,
}
_EXPECTED = {
    "judge": "write <answer>yes</answer> or <answer>no</answer>",
    "choice": "write option letters, as in <answer>A, C</answer>",
    "detection": "write a box, as in <answer>[10, 20, 110, 220]</answer>, or <answer>No Objects</answer>",
    "classify": "write labels, as in <answer>person, traffic light</answer>",
    "math": "write the value, as in <answer>35</answer>",
}
