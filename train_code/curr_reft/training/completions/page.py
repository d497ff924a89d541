"""The page of a step's completions: each group beside its image, with what it earned."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from curr_reft.answers.region import find_region
from curr_reft.boxes import Box, Size, boxes_in_text
from curr_reft.data.dataset import open_shown
from curr_reft.data.images import ImageError, path_below
from curr_reft.data.prompts import processed_size
from curr_reft.files.html import render_template
from curr_reft.files.text import shortened
from curr_reft.models.checkpoints import checkpoint_at
from curr_reft.models.processor import load_processor
from curr_reft.models.weights import is_adapter
from curr_reft.tasks.registry import find_task
from curr_reft.training.adapters import FLAG
from curr_reft.training.completions.groups import Completion, Group
from curr_reft.training.preview.images import Colour, Mark, image_uri, marks_of

_TEMPLATE = Path(__file__).with_name("completions.html.j2")
_COLOURS: tuple[Colour, ...] = (
    *((70, 200, 255), (255, 110, 220), (90, 220, 110), (255, 120, 20)),
    *((175, 140, 255), (255, 255, 255), (240, 70, 70), (195, 150, 100)),
)
_TEXT = 4000
"""Characters shown of a completion, and of a prompt."""
_MOST_BOXES = 20
"""Boxes drawn of a completion."""


@dataclass(frozen=True)
class Answer:
    """A completion as it is shown."""

    completion: Completion
    boxes: list[Box]
    """Those that are drawn."""
    colour: Colour
    """Of its boxes; further completions have the first ones' colours again."""
    text: str
    left_out: int


@dataclass(frozen=True)
class Card:
    """All that is shown of one group."""

    group: Group
    answers: list[Answer]
    prompt: str
    shown: Markup | None
    """The image with its boxes as a data URI."""
    fault: str | None
    """Why there is no image."""


def cards(groups: Sequence[Group], record: Mapping[str, Any], image_root: Path | None) -> Iterator[Card]:
    """What is shown of groups.

    Args:
        record: The run's manifest.
        image_root: Where the images are now, `None` for where the run found them.

    Raises:
        InputError: for a task that is not known, or when boxes are in the frame of a processor that is gone.
    """
    config = record["config"]
    root = image_root or Path(config["image_root"])
    processor = None
    if config["box_frame"] == "processed":
        limits = config["min_pixels"], config["max_pixels"]
        start = Path(config["model_name_or_path"])
        if start.is_dir() and is_adapter(start):
            processor = checkpoint_at(start, FLAG).processor(*limits, FLAG)
        else:
            processor = load_processor(str(start), config["model_revision"], *limits)
    for group in groups:
        has_boxes = find_task(group.task).has_boxes
        answers = [
            Answer(
                completion,
                _boxes(completion) if has_boxes else [],
                _COLOURS[number % len(_COLOURS)],
                *shortened(completion.text, _TEXT),
            )
            for number, completion in enumerate(group.completions)
        ]
        shown = fault = None
        try:
            path = path_below(root, os.path.relpath(group.image_path, config["image_root"]))
            image = open_shown(str(path), group.stage, group.task)
        except (ImageError, ValueError, OSError) as error:
            fault = f"Image not shown: {error}"
        else:
            frame: Size = image.size if processor is None else processed_size(image.size, processor)
            shown = image_uri(image, _marks(group, answers), frame)
        yield Card(group, answers, group.prompt[:_TEXT], shown, fault)


def _boxes(completion: Completion) -> list[Box]:
    return boxes_in_text(find_region(completion.text).text)[:_MOST_BOXES]


def _marks(group: Group, answers: Sequence[Answer]) -> list[Mark]:
    """The boxes of prompt, gold and completions, those of a completion under its number."""
    row = {"task": group.task, "prompt": [{"content": group.prompt}], "solution": group.solution}
    return marks_of(row) + [
        Mark(str(number), box, False, answer.colour)
        for number, answer in enumerate(answers, start=1)
        for box in answer.boxes
    ]


def render_page(title: str, shown: str, found: Sequence[Card]) -> str:
    """The page as HTML that needs nothing else; `shown` says which groups the cards are of."""
    return render_template(_TEMPLATE, title=title, shown=shown, cards=found)
