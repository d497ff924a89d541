"""Detection: the boxes of what a phrase names, in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np

from curr_reft.answers.boxes import parse_boxes, parse_detection
from curr_reft.answers.reading import DETECTION
from curr_reft.boxes import (
    THOUSANDTHS,
    Box,
    Size,
    box_fault,
    iou,
    iou_matrix,
    round_box,
    scale_box,
)
from curr_reft.stages import THINK_FIRST, Asking
from curr_reft.tasks.distractors import OpenRow, equal_pairs
from curr_reft.tasks.rule import Rule
from curr_reft.tasks.score import Score
from curr_reft.tasks.task import Golds, Scoring, Task

_IOU_THRESHOLD = 0.5
"""τ of eq. 6; the value is *ours*, the paper gives none."""
_MEAN_IOU_TO_BEAT = 0.5
"""The bound of eq. 7."""
_UNIT: Size = (1, 1)
MAX_IOU = 0.3
"""Boxes that overlap as much as this are no two different answers."""
_LEFT_FOR_ROUNDING = 0.05
_TRIES = 150
_REFGTA_GOLDS = ("solution", "normalized_solution", "resize_solution")
_REFGTA_TOLERANCE = 0.02
"""How far a RefGTA gold may lie from its thousandths, as a share of the image's side."""


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


def _with_mean_iou(score: Score) -> Score:
    """With the mean IoU over the boxes of gold or answer, whichever are more; an unmatched box is a 0."""
    if not score.gold or not isinstance(score.answer, tuple):
        return score._replace(overlap=score.reward)
    overlaps = matched_overlaps(score.answer, score.gold)
    return score._replace(overlap=sum(overlaps) / max(len(score.answer), len(score.gold)))


def _refgta_golds(golds: Golds, stored: Size, frame: Size) -> Golds:
    """The golds of a RefGTA row, its `resize_solution` being the box in `frame`.

    It comes from whichever of the row's pixel golds belongs to the stored image: `solution` is in the pixels
    of RefGTA's own images, `resize_solution` in those of the release's smaller ones, and
    `normalized_solution` tells which of the two an image is.
    """
    boxes = {name: _four_numbers(golds[name], name) for name in _REFGTA_GOLDS}
    expected = scale_box(boxes["normalized_solution"], THOUSANDTHS, stored)
    distances = {
        name: max(abs(a - b) / side for a, b, side in zip(boxes[name], expected, stored * 2, strict=True))
        for name in ("solution", "resize_solution")
    }
    nearest = min(distances, key=distances.__getitem__)
    # Said of what must hold, so that NaN is a fault.
    if not distances[nearest] <= _REFGTA_TOLERANCE:
        raise ValueError(
            "neither solution nor resize_solution lies where normalized_solution says in an image of"
            f" {stored[0]}x{stored[1]}: is it the right image?"
        )
    return {**golds, "resize_solution": list(round_box(scale_box(boxes[nearest], stored, frame), frame))}


def _four_numbers(value: Any, name: str) -> Box:
    if not (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
    ):
        raise ValueError(f"{name}: expected [x1, y1, x2, y2], found {str(value)[:60]}")
    return tuple(value)


@dataclass(frozen=True)
class Boxes:
    """One box each, in unit coordinates of its image; lent to another image by its place and size."""

    name: ClassVar[str] = "boxes"

    boxes: np.ndarray
    """`[n, 4]`: x1, y1, x2, y2, each between 0 and 1."""
    sizes: list[Size]
    images: list[str]

    @classmethod
    def of(cls, rows: Sequence[OpenRow]) -> Self:
        boxes = [scale_box(parse_boxes(row.answer)[0], row.size, _UNIT) for row in rows]
        return cls(np.clip(np.array(boxes), 0, 1), [row.size for row in rows], [row.image for row in rows])

    @staticmethod
    def fault(row: OpenRow) -> str | None:
        if row.size is None:
            return "image: its image cannot be used"
        boxes = parse_boxes(row.answer)
        if boxes is None or len(boxes) != 1:
            return f"solution: expected one box with an area, found {row.answer[:60]!r}"
        return box_fault(boxes[0], row.size)

    def spell(self, lender: int, asker: int) -> str:
        return str(list(self._forms(lender, asker)[1]))

    def _forms(self, lender: int, asker: int) -> tuple[Box, Box]:
        """The box in the asker's image, as it is and in the whole pixels that a question shows."""
        size = self.sizes[asker]
        box = scale_box(tuple(self.boxes[lender].tolist()), _UNIT, size)
        return box, round_box(box, size)

    def clashes(self) -> np.ndarray:
        return iou_matrix(self.boxes, self.boxes) >= MAX_IOU - _LEFT_FOR_ROUNDING

    def distances(self) -> np.ndarray:
        """The logarithms of the ratios of widths and of heights; less than any of those in one image."""
        sides = np.log(self.boxes[:, 2:] - self.boxes[:, :2])
        unlike = np.abs(sides[:, None] - sides[None]).sum(axis=2)
        return np.where(equal_pairs(self.images), unlike / (1 + unlike) - 1, unlike)

    def confirm(self, a: int, b: int, asker: int) -> bool:
        forms = product(self._forms(a, asker), self._forms(b, asker))
        return all(iou(first, second) < MAX_IOU for first, second in forms)

    def make_up(self, row: int, count: int, rng: np.random.Generator) -> list[str] | None:
        """Boxes of the same size elsewhere in the image, smaller where they would overlap too much."""
        size, own = self.sizes[row], self._forms(row, row)
        x1, y1, x2, y2 = own[0]
        found: list[Box] = []
        for shrink in np.linspace(1, 0.3, _TRIES).tolist():
            width, height = shrink * (x2 - x1), shrink * (y2 - y1)
            left, top = rng.random() * (size[0] - width), rng.random() * (size[1] - height)
            box = round_box((left, top, left + width, top + height), size)
            if all(iou(box, other) < MAX_IOU for other in (*own, *found)):
                found.append(box)
            if len(found) == count:
                return [str(list(box)) for box in found]
        return None


_RULES = (
    Rule(
        DETECTION,
        score_detection,
        "box",
        "a box, as in <answer>[10, 20, 110, 220]</answer>, or <answer>No Objects</answer>",
    ),
)
TASK = Task(
    name="detection",
    title="detection",
    rules=_RULES,
    distractors=lambda row: Boxes,
    endings={"open": " Output the final answer in JSON format in <answer> </answer> tags."},
    has_boxes=True,
    format_fault=lambda answer: "the answer is no box" if parse_detection(answer) is None else None,
    scorings=(
        Scoring(
            name="detection_in",
            rules=_RULES,
            detail=_with_mean_iou,
            # `muti_process_eval.py` asks in other words than training does, "the the" included.
            released_asking=Asking(
                "First output your thinking process in <think> </think> tags and then provide the the final"
                " answer as bounding box coordinates in <answer> </answer> tags. Output the final answer in"
                " JSON format."
            ),
        ),
        Scoring(
            name="refgta",
            rules=_RULES,
            fields=_REFGTA_GOLDS,
            gold=lambda golds: golds.get("resize_solution"),
            golds_in_frame=_refgta_golds,
            detail=_with_mean_iou,
            # `single_process_eval_for_refgta.py`, and the smaller images that it reads.
            released_asking=Asking(f"{THINK_FIRST} Output the final answer in JSON format."),
            released_image=lambda image: image.replace("final", "final_resize", 1),
        ),
    ),
)
