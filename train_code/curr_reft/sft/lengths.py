"""How many tokens rows of supervised fine-tuning have, the tokens of their images counted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import ProcessorMixin

from curr_reft.boxes import Size
from curr_reft.data.prompts import image_token_count
from curr_reft.data.row_fields import IMAGE_TAG
from curr_reft.models.processor import load_processor
from curr_reft.sft.messages import MessageRow

if TYPE_CHECKING:
    from curr_reft.sft.check import CheckedRow

_PLACEHOLDER = "<|vision_start|><|image_pad|><|vision_end|>"
_BATCH = 256
# qwen-vl-utils' smallest image, which swift takes instead of the processor's; it counts in whole tokens.
_PIXELS_OF_TOKEN = 28 * 28
_MIN_PIXELS = 4 * _PIXELS_OF_TOKEN


def row_tokens(
    rows: Sequence["CheckedRow"],
    sizes: Mapping[Path, Size],
    model: str,
    system: str | None,
    max_pixels: int | None,
) -> list[int]:
    """Tokens of each row as ms-swift counts them against `max_length`.

    Raises:
        InputError: when the model's processor cannot be loaded.
    """
    if max_pixels is not None:
        max_pixels = max(max_pixels // _PIXELS_OF_TOKEN * _PIXELS_OF_TOKEN, _MIN_PIXELS)
    processor = load_processor(model, min_pixels=_MIN_PIXELS, max_pixels=max_pixels, flag="--model")
    lengths: list[int] = []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        texts = [rendered(processor, row.row, system) for row in batch]
        for row, ids in zip(batch, processor.tokenizer(texts)["input_ids"], strict=True):
            images = sum(image_token_count(sizes[image], processor) - 1 for image in row.images)
            lengths.append(len(ids) + images)
    return lengths


def rendered(processor: ProcessorMixin, row: MessageRow, system: str | None) -> str:
    """The chat that a row is trained as, with one placeholder for each image."""
    turns = [
        {"role": role, "content": content.replace(IMAGE_TAG, _PLACEHOLDER)} for role, content in row.messages
    ]
    if system is not None and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    return processor.apply_chat_template(turns)
