"""From examples to what the trainer reads: prompts, and images that open when a row is read."""

import logging
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value
from PIL import Image
from transformers import ProcessorMixin

from curr_reft.boxes import BoxFrame, Size
from curr_reft.data.arrow import write_arrow
from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.data.prompts import image_token_count, prompt_token_counts, request
from curr_reft.data.schema import Example
from curr_reft.errors import InputError
from curr_reft.stages import STAGES, ImageBudget, Stage, stage_of
from curr_reft.tasks.registry import asking_of

logger = logging.getLogger(__name__)

_BATCH = 256
# The trainer reads a row for each of its completions, and again for each step that they are dealt to.
_OPEN_IMAGES = 16
_FEATURES = Features(
    {
        "id": Value("string"),
        "prompt": [{"role": Value("string"), "content": Value("string")}],
        "image": Value("string"),
        "solution": Value("string"),
        "task": Value("string"),
        "stage": Value("string"),
    }
)


@dataclass(frozen=True)
class Split:
    """The rows of one split ready to use, and what was measured on the way."""

    dataset: Dataset
    prompt_tokens: Sequence[int] = field(repr=False)
    """Tokens of each kept prompt, image tokens counted."""
    image_tokens: Sequence[int] = field(repr=False)
    too_long: list[str] = field(repr=False)
    """Ids of rows left out because their prompt exceeds the limit."""


def build_split(
    examples: Iterable[Example],
    stage: Stage,
    sizes: Mapping[Path, Size],
    processor: ProcessorMixin,
    max_prompt_length: int,
    strict_prompt_length: bool = False,
    box_frame: BoxFrame = "budget",
) -> Split:
    """Turn examples into a dataset of `id, prompt, image, image_path, solution, task, stage`.

    Images open when a row is read.

    Rows go to an Arrow file as they come. Boxes in detection rows (gold, and claims or options in the
    problem) move from the stored frame to `box_frame`; prompts beyond `max_prompt_length` tokens are left
    out, never cut.

    Args:
        stage: Of the rows that name none.
        sizes: Stored width and height of every image, from `curr_reft.data.images.check_images`.
        box_frame: The frame boxes are moved to.

    Raises:
        InputError: when no row is left, or on a too long prompt under `strict_prompt_length`.
    """
    prompt_tokens, image_tokens = array("i"), array("i")
    too_long: list[str] = []
    _open.cache_clear()

    def rows() -> Iterator[dict[str, Any]]:
        remaining = iter(examples)
        while batch := list(islice(remaining, _BATCH)):
            for row, length, tokens in _measured(batch, stage, sizes, processor, box_frame):
                if length > max_prompt_length:
                    too_long.append(row["id"])
                    continue
                prompt_tokens.append(length)
                image_tokens.append(tokens)
                yield row

    dataset = write_arrow(rows(), _FEATURES)
    if too_long:
        count = len(dataset) + len(too_long)
        message = f"{len(too_long)} of {count} prompts exceed --max_prompt_length {max_prompt_length}"
        if strict_prompt_length or not len(dataset):
            raise InputError(f"{message}, first {too_long[0]}: raise the limit or lower --max_pixels")
        logger.warning("%s and are dropped, first %s", message, too_long[0])
    return Split(
        dataset=dataset.with_transform(_open_images),
        prompt_tokens=prompt_tokens,
        image_tokens=image_tokens,
        too_long=too_long,
    )


def _measured(
    examples: Sequence[Example],
    stage: Stage,
    sizes: Mapping[Path, Size],
    processor: ProcessorMixin,
    box_frame: BoxFrame,
) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The row of each example, the tokens of its prompt with the image's, and the image's alone."""
    rows, image_tokens = [], []
    for example in examples:
        own = stage_of(example.stage, stage)
        asked = request(example, own, example.task, sizes[example.image], box_frame, processor)
        rows.append(
            {
                "id": asked.id,
                "prompt": [{"role": "user", "content": asked.prompt}],
                "image": str(asked.image),
                "solution": asked.solution,
                "task": asked.task,
                "stage": asked.stage,
            }
        )
        image_tokens.append(image_token_count(asked.shown, processor))
    prompts = [row["prompt"][0]["content"] for row in rows]
    yield from zip(rows, prompt_token_counts(processor, prompts, image_tokens), image_tokens, strict=True)


def _open_images(batch: dict[str, list]) -> dict[str, list]:
    rows = zip(batch["image"], batch["stage"], batch["task"], strict=True)
    return {**batch, "image": [open_shown(*row) for row in rows], "image_path": batch["image"]}


def open_shown(path: str, stage: str, task: str) -> Image.Image:
    """A row's image as the stage of that name shows it to the processor."""
    return _open(path, asking_of(STAGES[stage], task).budget)


@lru_cache(maxsize=_OPEN_IMAGES)
def _open(path: str, budget: ImageBudget | None) -> Image.Image:
    return fit_to_budget(open_image(Path(path)), budget)
