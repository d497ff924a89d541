"""From the rows of a suite to what a model is asked, and the golds in the frame of what it is shown."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin

from curr_reft.boxes import THOUSANDTHS, BoxFrame, Size, round_box, scale_box
from curr_reft.data.dataset import box_frame_size, texts_in_frame
from curr_reft.data.images import WithImage, budget_size, check_images
from curr_reft.data.schema import Example, iter_objects, iter_questions, place
from curr_reft.data.suites import Suite
from curr_reft.errors import InputError
from curr_reft.evaluation.prompts import Prompts, image_of, questions_of
from curr_reft.evaluation.request import Request, content_digest
from curr_reft.files.manifest import sha256_of
from curr_reft.stages import Stage

_REFGTA_GOLDS = ("solution", "normalized_solution", "resize_solution")
_TOLERANCE = 0.02
"""How far a RefGTA gold may lie from its thousandths, as a share of the image's side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Request):
    """One row of a suite as a model is asked it; its id is the row file below the data root, and line."""

    task: str
    problem: str
    """Without the instruction; boxes in `frame`."""
    frame: Size
    """Width and height of the frame that the boxes of prompt, gold and answer are in."""
    example: dict[str, Any]
    """The golds; scoring reads nothing else of a row."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that was read, its image not yet looked at."""

    id: str
    image: Path
    problem: str
    golds: dict[str, Any]


class Images:
    """Stored sizes and digests of the images that were looked at, each decoded once."""

    def __init__(self) -> None:
        self.sizes: dict[Path, Size] = {}
        self.digests: dict[Path, str] = {}

    def look_at(self, rows: Sequence[WithImage]) -> None:
        """Decode the images of rows that were not looked at yet.

        Raises:
            InputError: when one is missing or cannot be used.
        """
        if fresh := [row for row in rows if row.image not in self.sizes]:
            sizes, _ = check_images(fresh, allow_missing=False, hint="check --data_root")
            self.sizes.update(sizes)
            self.digests.update({image: sha256_of(image) for image in sizes})


def read_suite(
    suite: Suite,
    data_root: Path,
    prompts: Prompts,
    sample_num: int,
    seed: int,
    box_frame: BoxFrame,
    processor: ProcessorMixin | None,
    images: Images,
) -> list[Asked]:
    """The rows of a suite, in the file's order.

    Of more than `sample_num` rows the release's choice is taken: the first after a shuffle by `seed`.

    Args:
        processor: Only looked at for the box frame `processed`.

    Raises:
        InputError: for a file, row or image that cannot be used.
    """
    path = data_root / suite.json_path
    rows = _read_rows(path, suite, data_root, prompts)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    chosen = [rows[index] for index in sorted(order[:sample_num])]
    images.look_at(chosen)
    stage = questions_of(suite, prompts)
    return [_ask(row, suite, stage, images, box_frame, processor) for row in chosen]


def _read_rows(path: Path, suite: Suite, data_root: Path, prompts: Prompts) -> list[_Row]:
    questions = list(iter_questions(path, data_root))
    rows = []
    for question, (number, row) in zip(questions, iter_objects(path), strict=True):
        if missing := [name for name in _golds(suite) if name not in row]:
            raise InputError(f"{question.id}: {missing[0]}: missing")
        image = data_root / image_of(suite, prompts, os.path.relpath(question.image, data_root))
        golds = {name: row[name] for name in _golds(suite)}
        rows.append(_Row(place(Path(suite.json_path), number), image, question.problem, golds))
    return rows


def _golds(suite: Suite) -> tuple[str, ...]:
    return _REFGTA_GOLDS if suite.scoring == "refgta" else ("solution",)


def _ask(
    row: _Row,
    suite: Suite,
    stage: Stage,
    images: Images,
    box_frame: BoxFrame,
    processor: ProcessorMixin | None,
) -> Asked:
    stored, budget = images.sizes[row.image], stage.budget(suite.task)
    shown = budget_size(stored, budget)
    frame = shown if processor is None else box_frame_size(shown, box_frame, processor)
    problem, golds = row.problem, row.golds
    if suite.scoring == "refgta":
        golds = {**golds, "resize_solution": _refgta_gold(row, stored, frame)}
    elif suite.task == "detection":
        solution = golds["solution"]
        text = solution if isinstance(solution, str) else json.dumps(solution)
        example = Example(row.id, row.problem, text, suite.task, row.image)
        problem, solution = texts_in_frame(example, stored, frame)
        golds = {"solution": solution}
    prompt = stage.prompt(suite.task, problem)
    return Asked(
        id=row.id,
        prompt=prompt,
        image=row.image,
        budget=budget,
        shown=shown,
        content=content_digest(prompt, images.digests[row.image], shown),
        task=suite.task,
        problem=problem,
        frame=frame,
        example=golds,
    )


def _refgta_gold(row: _Row, stored: Size, frame: Size) -> list[int]:
    """The gold box in `frame`, from whichever of a row's pixel golds belongs to the stored image.

    `solution` is in the pixels of RefGTA's own images, `resize_solution` in those of the release's smaller
    ones, and `normalized_solution` tells which of the two an image is.

    Raises:
        InputError: when a gold is no box, or neither belongs to the image.
    """
    boxes = {name: _four_numbers(row, name) for name in _REFGTA_GOLDS}
    expected = scale_box(boxes["normalized_solution"], THOUSANDTHS, stored)
    distances = {
        name: max(abs(a - b) / side for a, b, side in zip(boxes[name], expected, stored * 2, strict=True))
        for name in ("solution", "resize_solution")
    }
    nearest = min(distances, key=distances.__getitem__)
    # Said of what must hold, so that NaN is a fault.
    if not distances[nearest] <= _TOLERANCE:
        raise InputError(
            f"{row.id}: neither solution nor resize_solution lies where normalized_solution says in an image"
            f" of {stored[0]}x{stored[1]}: is {row.image} the right image?"
        )
    return list(round_box(scale_box(boxes[nearest], stored, frame), frame))


def _four_numbers(row: _Row, name: str) -> tuple[float, float, float, float]:
    value = row.golds[name]
    if not (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
    ):
        raise InputError(f"{row.id}: {name}: expected [x1, y1, x2, y2], found {str(value)[:60]}")
    x1, y1, x2, y2 = value
    return x1, y1, x2, y2
