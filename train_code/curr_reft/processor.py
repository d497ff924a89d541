"""The one loader of processors, used by training and evaluation alike."""

from pathlib import Path

from transformers import AutoConfig, AutoProcessor, ProcessorMixin
from transformers.image_utils import SizeDict

from curr_reft.errors import InputError


def load_processor(
    model: str, revision: str = "main", min_pixels: int | None = None, max_pixels: int | None = None
) -> ProcessorMixin:
    """Load a checkpoint's processor, padding on the left, with the pixel limits given.

    Args:
        model: Checkpoint directory or hub id.
        min_pixels: Pictures below this many pixels are enlarged; `None` keeps the checkpoint's own limit.
        max_pixels: Pictures above this many pixels are shrunk; `None` keeps the checkpoint's own limit.

    Raises:
        InputError: when the path does not exist, or holds no vision-language configuration and processor.
    """
    is_hub_id = model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if not is_hub_id and not Path(model).is_dir():
        raise InputError(f"--model_name_or_path {model}: no such directory")
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
        processor = AutoProcessor.from_pretrained(model, revision=revision, padding_side="left")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--model_name_or_path {model}: configuration or processor cannot be loaded; a checkpoint needs"
            f" config.json and its base model's processor and tokenizer files ({reason})"
        ) from error
    if not isinstance(processor, ProcessorMixin):
        raise InputError(
            f"--model_name_or_path {model}: no image processor beside the {config.model_type} model; copy the"
            " base model's processor files into the checkpoint"
        )
    size = processor.image_processor.size
    smallest = size["shortest_edge"] if min_pixels is None else min_pixels
    largest = size["longest_edge"] if max_pixels is None else max_pixels
    if smallest > largest:
        raise InputError(f"--min_pixels {smallest} is above --max_pixels {largest}")
    processor.image_processor.size = SizeDict(shortest_edge=smallest, longest_edge=largest)
    return processor
