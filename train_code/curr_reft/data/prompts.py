"""From a row to what a model is asked: the one place where image budget, box frame and prompt come together.

Training, evaluation, pass@k, self-improvement and the rows of supervised fine-tuning all ask through
`request`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import ProcessorMixin
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from curr_reft.boxes import BoxFrame, Size, rescale_boxes_in_text
from curr_reft.data.images import budget_size, fit_to_budget, open_image
from curr_reft.data.schema import Example, Query
from curr_reft.stages import Asking, ImageBudget, Stage
from curr_reft.tasks.registry import asking_of, find_task

# What servers take, whatever they count in.
_SEED_BITS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a model is asked about a row, and what is right."""

    id: str
    stage: str = ""
    task: str | None = None
    prompt: str
    """The text of the user's message."""
    problem: str = ""
    """The prompt without the instruction; its boxes are in `frame`."""
    solution: str | None = None
    """The gold, its boxes in `frame`."""
    golds: Mapping[str, Any] | None = None
    """Of a suite's row: all that scoring reads of it."""
    image: Path | None = None
    budget: ImageBudget | None = None
    shown: Size | None = None
    """Width and height of the image that the processor gets."""
    frame: Size | None = None
    """Width and height of the image in whose pixels boxes are."""
    image_digest: str | None = None
    """Of the stored image."""
    seed: int = 0
    """Of the draws of a sampled answer."""

    @property
    def content(self) -> str:
        """Digest of all that an answer depends on, apart from model, settings and seed."""
        return hashlib.sha256(json.dumps([self.prompt, self.image_digest, self.shown]).encode()).hexdigest()

    @property
    def image_key(self) -> tuple[Path, Size | None, str | None] | None:
        """What tells the image, as it is shown, from all others of a run."""
        if self.image is None:
            return None
        return self.image, self.shown, self.budget and self.budget.resample

    def open_image(self) -> Image.Image | None:
        """The image at its `shown` size."""
        return None if self.image is None else fit_to_budget(open_image(self.image), self.budget)


def request(
    row: Example | Query,
    stage: Stage,
    task: str | None,
    stored: Size | None,
    box_frame: BoxFrame = "budget",
    processor: ProcessorMixin | None = None,
    asking: Asking | None = None,
) -> Request:
    """What a stage makes of a row: boxes move from the stored image to the box frame, the gold's as well.

    Args:
        task: The name of the row's task; `None` for a row of no task, which has no boxes to move.
        stored: Width and height of the row's image, `None` without one.
        processor: Only looked at for the box frame `processed`.
        asking: How a released evaluator asks, instead of the stage.
    """
    known = None if task is None else find_task(task)
    asking = asking or asking_of(stage, task)
    problem, solution = row.problem, row.solution
    shown = frame = None
    if row.image is not None:
        shown = frame = budget_size(stored, asking.budget)
        if box_frame == "processed":
            frame = processed_size(shown, processor)
        if known is not None and known.has_boxes:
            problem = rescale_boxes_in_text(problem, stored, frame)
            solution = solution and rescale_boxes_in_text(solution, stored, frame)
    return Request(
        id=row.id,
        stage=stage.name,
        task=task,
        prompt=asking.prompt(problem),
        problem=problem,
        solution=solution,
        image=row.image,
        budget=asking.budget,
        shown=shown,
        frame=frame,
    )


def processed_size(size: Size, processor: ProcessorMixin) -> Size:
    """The size the processor resizes an image of `size` (width, height) to."""
    images = processor.image_processor
    height, width = smart_resize(
        size[1],
        size[0],
        factor=images.patch_size * images.merge_size,
        min_pixels=images.size["shortest_edge"],
        max_pixels=images.size["longest_edge"],
    )
    return width, height


def image_token_count(size: Size, processor: ProcessorMixin) -> int:
    """Vision tokens of an image that reaches the processor at `size` (width, height)."""
    width, height = processed_size(size, processor)
    return (
        width * height // (processor.image_processor.patch_size * processor.image_processor.merge_size) ** 2
    )


def render_prompt(processor: ProcessorMixin, text: str, with_image: bool = True) -> str:
    """The chat a model reads for a prompt: one user message, its image's placeholder and then the text."""
    image = [{"type": "image"}] if with_image else []
    message = {"role": "user", "content": [*image, {"type": "text", "text": text}]}
    return processor.apply_chat_template([message], add_generation_prompt=True)


def prompt_token_counts(
    processor: ProcessorMixin, prompts: Sequence[str], image_tokens: Sequence[int | None]
) -> list[int]:
    """Tokens of rendered prompts, those of each one's image counted; `None` is no image."""
    texts = [
        render_prompt(processor, prompt, tokens is not None)
        for prompt, tokens in zip(prompts, image_tokens, strict=True)
    ]
    # The template holds one placeholder, which the processor replaces by the image's tokens.
    return [
        len(ids) if tokens is None else len(ids) - 1 + tokens
        for ids, tokens in zip(processor.tokenizer(texts)["input_ids"], image_tokens, strict=True)
    ]


def seed_of(text: str) -> int:
    """A seed that follows from a text, such as an id, and differs for others."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 2**_SEED_BITS
