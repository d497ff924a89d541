"""The one loader of processors, used by training and evaluation alike."""

from pathlib import Path

import httpx
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, AutoProcessor, ProcessorMixin
from transformers.image_utils import SizeDict

from curr_reft.errors import InputError
from curr_reft.models.weights import refuse_adapter

_HUB_SECONDS = 20


def is_hub_id(model: str) -> bool:
    """Whether a name has the form of a repository on the hub, `OWNER/NAME`."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~"))


def check_hub(model: str, revision: str, flag: str) -> None:
    """Ask the hub once for a model that its cache lacks; transformers would ask again and again, and log it.

    Raises:
        InputError: when the hub cannot be reached, or does not give the model.
    """
    try:
        if isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str):
            return
        HfApi().model_info(model, revision=revision, timeout=_HUB_SECONDS)
    except (OSError, httpx.HTTPError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{flag} {model}: no such directory, not in the hub's cache here, and not to be had from the hub"
            f" ({reason}); check the name and the connection, or give a directory"
        ) from error


def load_processor(
    model: str,
    revision: str = "main",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    config: str | None = None,
    flag: str = "--model_name_or_path",
) -> ProcessorMixin:
    """Load a checkpoint's processor, padding on the left, with the pixel limits given.

    Args:
        model: Checkpoint directory or hub id.
        min_pixels: Images below this many pixels are enlarged; `None` keeps the checkpoint's own limit.
        max_pixels: Images above this many pixels are shrunk; `None` keeps the checkpoint's own limit.
        config: Where weights and configuration are, when not beside the processor.
        flag: What named the model, for messages.

    Raises:
        InputError: when the path does not exist, or holds no vision-language configuration and processor.
    """
    weights = config or model
    if not Path(weights).is_dir():
        if not is_hub_id(weights):
            raise InputError(f"{flag} {weights}: no such directory")
        check_hub(weights, revision, flag)
    elif not any(Path(weights).glob("*.safetensors")) and not any(Path(weights).glob("pytorch_model*.bin")):
        raise InputError(f"{flag} {weights}: holds no weights (*.safetensors)")
    else:
        refuse_adapter(Path(weights), flag)
    try:
        model_config = AutoConfig.from_pretrained(weights, revision=revision)
        processor = AutoProcessor.from_pretrained(model, revision=revision, padding_side="left")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{flag} {model}: configuration or processor cannot be loaded; a checkpoint needs"
            f" config.json and its base model's processor and tokenizer files ({reason})"
        ) from error
    if not isinstance(processor, ProcessorMixin):
        raise InputError(
            f"{flag} {model}: no image processor beside the {model_config.model_type} model; copy the"
            " base model's processor files into the checkpoint"
        )
    # Without its files transformers makes up an empty tokenizer, and says nothing.
    if getattr(processor, "image_token_id", None) != getattr(model_config, "image_token_id", None):
        raise InputError(
            f"{flag} {model}: the tokenizer does not know the model's image token; copy the"
            " base model's tokenizer files into the checkpoint"
        )
    if processor.chat_template is None:
        raise InputError(f"{flag} {model}: no chat template; copy the base model's chat_template.jinja")
    images = processor.image_processor
    if not hasattr(images, "merge_size") or "longest_edge" not in images.size:
        raise InputError(
            f"{flag} {model}: a {model_config.model_type} model, whose image sizes and tokens are not known"
            " here; use one of the Qwen-VL families (Qwen2-VL, Qwen2.5-VL, Qwen3-VL)"
        )
    size = images.size
    smallest = size["shortest_edge"] if min_pixels is None else min_pixels
    largest = size["longest_edge"] if max_pixels is None else max_pixels
    if not 1 <= smallest <= largest:
        raise InputError(f"--min_pixels {smallest}, --max_pixels {largest}: expected 1 <= min <= max")
    images.size = SizeDict(shortest_edge=smallest, longest_edge=largest)
    return processor
