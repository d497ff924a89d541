"""A few right and wrong answers of each suite, with their images."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from curr_reft.data.images import ImageError, open_image, path_below
from curr_reft.data.schema import BrokenLine, iter_objects
from curr_reft.errors import InputError
from curr_reft.evaluation.report.documents import Evaluation, SuiteScore, is_number
from curr_reft.files.text import shortened
from curr_reft.tasks.registry import get_task
from curr_reft.training.preview.images import Mark, image_uri

SEED = 42
_SCORINGS = ("strict", "tolerant", "released")
_MOST_BOXES = 20
_FURTHEST = 1e6
"""Pixels: coordinates beyond are not drawn."""
_TEXT, _DETAIL = 1500, 300
"""Characters shown of outputs and problems, and of what was read in them."""


@dataclass(frozen=True)
class Text:
    """A text as it is shown: its beginning, and how many characters follow it."""

    shown: str
    left_out: int


@dataclass(frozen=True)
class Card:
    """All that is shown of one answer."""

    id: str
    scores: dict[str, bool]
    """Right or wrong, by each scoring that the row has."""
    overlap: float | None
    truncated: bool
    problem: Text | None
    gold: Text
    output: Text
    rules: list[tuple[str, str, Text]]
    """By which scoring, the rule that applied, and what it read in the answer."""
    shown: Markup | None
    """A data URI."""
    alt: str
    notes: list[str]
    """What is not shown, and why."""


@dataclass(frozen=True)
class Shelf:
    """The cards of one suite: right ones, wrong ones, and of how many they were drawn."""

    suite: str
    groups: list[tuple[str, int, list[Card]]]
    """A title, the number of such rows, and the cards of some."""
    missing: str | None = None
    """Why there are no cards."""


def shelves(evaluation: Evaluation, each: int, data_root: Path | None = None) -> Iterator[Shelf]:
    """For each suite, up to `each` right and as many wrong answers, drawn with a fixed seed.

    Answers on which the scorings disagree come first, in half of the places or where others are too few.

    Raises:
        InputError: for a file of rows that is broken.
    """
    root = data_root or (Path(evaluation.data_root) if evaluation.data_root else None)
    for score in evaluation.scores.values():
        path = evaluation.directory / f"{score.suite}.jsonl"
        if not path.is_file():
            yield Shelf(score.suite, [], f"{path.name} does not lie beside scores.json.")
            continue
        verdicts = [
            None if _waits(row) else tuple(row[name] for name in _SCORINGS if name in row)
            for row in _rows(path)
        ]
        if waiting := verdicts.count(None):
            why = (
                f"{waiting} of its {len(verdicts)} answers are not scored yet: eval/evaluate.py is at work"
                " on them, or was stopped and goes on when started again."
            )
            yield Shelf(score.suite, [], why)
            continue
        titles = {1: "Right by the strict scoring", 0: "Wrong by the strict scoring"}
        drawn = {strict: _draw(verdicts, strict, each) for strict in titles}
        wanted = {index for indices in drawn.values() for index in indices}
        rows = {index: row for index, row in enumerate(_rows(path)) if index in wanted}
        yield Shelf(
            score.suite,
            [
                (
                    title,
                    sum(verdict[0] == strict for verdict in verdicts),
                    [_card(rows[index], score, root) for index in drawn[strict]],
                )
                for strict, title in titles.items()
            ],
        )


def _waits(row: dict[str, Any]) -> bool:
    """Whether a row is an answer that its suite's scoring has not come to."""
    return "digest" in row and "strict" not in row and "released" not in row


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a suite, one at a time: their outputs may be long."""
    for number, row in iter_objects(path):
        fault = None
        if isinstance(row, BrokenLine) or not isinstance(row, dict):
            fault = "not a JSON object"
        elif _waits(row):
            pass
        elif "strict" not in row or any(row.get(name, 0) not in (0, 1) for name in _SCORINGS):
            fault = "no score of 0 or 1"
        elif not isinstance(row.get("model_output"), str) or not isinstance(row.get("example"), dict):
            fault = "no model_output or no example"
        if fault:
            raise InputError(f"{path}:{number}: {fault}; evaluate again")
        yield row


def _draw(verdicts: list[tuple[int, ...]], strict: int, each: int) -> list[int]:
    """Indices of rows with this verdict, strict (the first of a row's); disputed ones come first."""
    rng = random.Random(SEED)
    found = [index for index, verdict in enumerate(verdicts) if verdict[0] == strict]
    disputed, agreed = (
        [index for index in found if (len(set(verdicts[index])) > 1) is is_disputed]
        for is_disputed in (True, False)
    )
    rng.shuffle(disputed)
    rng.shuffle(agreed)
    places = max(each // 2, each - len(agreed))
    drawn = disputed[:places]
    return drawn + agreed[: each - len(drawn)]


def _card(row: dict[str, Any], score: SuiteScore, root: Path | None) -> Card:
    explanation = row.get("explanation") if isinstance(row.get("explanation"), dict) else {}
    read = {name: explanation[name] for name in _SCORINGS if isinstance(explanation.get(name), dict)}
    problem, frame = row.get("problem"), row.get("frame")
    marks, notes = [], []
    task = get_task(score.task)
    if task is not None and task.has_boxes:
        marks, notes = _marks(read.get("strict", {}))
    shown, size, fault = _shown(row.get("image"), root, marks, frame)
    notes += [fault] if fault else []
    boxes = "; ".join(f"{mark.label} [{', '.join(f'{side:g}' for side in mark.box)}]" for mark in marks)
    alt = f"Image of {row.get('id', 'a row')}, {size[0]} by {size[1]} pixels" if size else ""
    return Card(
        id=str(row.get("id", "")),
        scores={name: row[name] == 1 for name in _SCORINGS if name in row},
        overlap=row["overlap"] if is_number(row.get("overlap")) else None,
        truncated=row.get("truncated") is True,
        problem=_text(problem, _TEXT) if isinstance(problem, str) else None,
        gold=_text(_spelled(row["example"].get("solution")), _DETAIL),
        output=_text(row["model_output"], _TEXT),
        rules=[
            (name, str(found.get("rule", "")), _text(_spelled(found.get("answer")), _DETAIL))
            for name, found in read.items()
        ],
        shown=shown,
        alt=f"{alt}, boxes: {boxes}" if boxes else alt,
        notes=notes,
    )


def _text(text: str, most: int) -> Text:
    return Text(*shortened(text, most))


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _marks(found: dict[str, Any]) -> tuple[list[Mark], list[str]]:
    """The boxes to draw of what strict scoring read in a detection, and what is to be said about them."""
    marks, notes = [], []
    for key, label in (("answer", "answer"), ("gold", "gold")):
        boxes = found.get(key) if isinstance(found.get(key), list) else []
        good = [box for box in boxes if _is_box(box)]
        marks += [Mark(label, tuple(box), label == "gold") for box in islice(good, _MOST_BOXES)]
        if len(boxes) > min(len(good), _MOST_BOXES):
            notes.append(
                f"{len(boxes) - min(len(good), _MOST_BOXES)} of {len(boxes)} {label} boxes are not drawn."
            )
    if not any(mark.label == "answer" for mark in marks) and not notes:
        notes.append("No box was read in the answer.")
    return marks, notes


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(is_number(side) and abs(side) <= _FURTHEST for side in box)
    )


def _shown(
    image: Any, root: Path | None, marks: list[Mark], frame: Any
) -> tuple[Markup | None, tuple[int, int] | None, str | None]:
    """A row's image with its marks as a data URI and its stored size, or why there is none."""
    if not isinstance(image, str) or root is None:
        return None, None, "The row names no image." if root else "scores.json names no data_root."
    try:
        opened = open_image(path_below(root, image))
    except (ImageError, ValueError, OSError) as error:
        return None, None, f"Image not shown: {error}."
    size = opened.size
    is_size = (
        isinstance(frame, list) and len(frame) == 2 and all(is_number(side) and side > 0 for side in frame)
    )
    return image_uri(opened, marks, (frame[0], frame[1]) if is_size else size), size, None
