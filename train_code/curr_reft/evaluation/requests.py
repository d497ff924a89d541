"""From the rows of a suite to what a model is asked, and the golds in the frame of what it is shown."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from transformers import ProcessorMixin

from curr_reft.boxes import BoxFrame, Size
from curr_reft.data.images import WithImage, check_images
from curr_reft.data.prompts import Request, request
from curr_reft.data.schema import Query, iter_objects, iter_questions, place
from curr_reft.data.suites import Suite
from curr_reft.errors import InputError
from curr_reft.files.manifest import sha256_of
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task

Prompts = Literal["training", "released"]
"""Whose prompts and image budgets: those of training's open stage, or the released evaluator's own."""
PROMPTS: tuple[Prompts, ...] = get_args(Prompts)


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
) -> list[Request]:
    """The rows of a suite, in the file's order; ids are the row file below the data root, and line.

    Of more than `sample_num` rows the release's choice is taken: the first after a shuffle by `seed`.

    Args:
        processor: Only looked at for the box frame `processed`.

    Raises:
        InputError: for a file, row or image that cannot be used.
    """
    rows = _read_rows(suite, data_root, prompts)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    chosen = [rows[index] for index in sorted(order[:sample_num])]
    images.look_at([row for row, _ in chosen])
    asking = suite.rules.released_asking if prompts == "released" else None
    has_boxes = find_task(suite.task).has_boxes
    requests = []
    for row, golds in chosen:
        stored = images.sizes[row.image]
        asked = request(row, STAGES["open"], suite.task, stored, box_frame, processor, asking)
        if suite.rules.golds_in_frame is not None:
            try:
                golds = suite.rules.golds_in_frame(golds, stored, asked.frame)
            except ValueError as error:
                raise InputError(f"{row.id}: {error} ({row.image})") from error
        elif has_boxes:
            golds = {**golds, "solution": asked.solution}
        requests.append(replace(asked, golds=golds, image_digest=images.digests[row.image]))
    return requests


def _read_rows(suite: Suite, data_root: Path, prompts: Prompts) -> list[tuple[Query, dict[str, Any]]]:
    path = data_root / suite.json_path
    rows = []
    for question, (number, row) in zip(iter_questions(path, data_root), iter_objects(path), strict=True):
        if missing := [name for name in suite.rules.fields if name not in row]:
            raise InputError(f"{question.id}: {missing[0]}: missing")
        golds = {name: row[name] for name in suite.rules.fields}
        image = os.path.relpath(question.image, data_root)
        if prompts == "released":
            image = suite.rules.released_image(image)
        solution = golds.get("solution", "")
        text = solution if isinstance(solution, str) else json.dumps(solution)
        where = place(Path(suite.json_path), number)
        rows.append((Query(where, question.problem, text, data_root / image), golds))
    return rows
