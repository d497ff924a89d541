"""Adapters (PEFT): do they fit the model that they are to be put on, and are their weights all there?"""

import re
from pathlib import Path

from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, load_peft_weights
from transformers import PreTrainedModel

from curr_reft.errors import InputError
from curr_reft.models.weights import (
    LOADING_ERRORS,
    check_files,
    is_adapter,
    reason_of,
    refuse_not_finite,
    skeleton,
)


def adapter_model(model: PreTrainedModel, config: PeftConfig, flag: str) -> PeftModel:
    """A skeleton with the adapter of a configuration in it.

    Raises:
        InputError: when the model lacks a part that the configuration names.
    """
    asked = getattr(config, "target_modules", None)  # some kinds of adapters name none
    try:
        adapted = get_peft_model(model, config, low_cpu_mem_usage=True)
    except (*LOADING_ERRORS, re.error) as error:
        raise InputError(f"{flag}: {reason_of(error)}") from error
    # Of several names PEFT wants no more than one to be there.
    if isinstance(asked, list | set | tuple):
        found = adapted.targeted_module_names
        for name in sorted(asked):
            if not any(f".{module}".endswith(f".{name}") for module in found):
                besides = " that is not left out" if config.exclude_modules else ""
                raise InputError(f"{flag}: target module {name}: the model has no such part{besides}")
    return adapted


def load_adapter_config(folder: Path, flag: str) -> PeftConfig:
    """The configuration of an adapter.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        return PeftConfig.from_pretrained(folder)
    except LOADING_ERRORS as error:
        raise InputError(f"{flag} {folder}: the adapter cannot be loaded ({reason_of(error)})") from error


def check_adapter(folder: Path, base: PreTrainedModel, flag: str) -> PeftModel:
    """Compare an adapter's weights with those that its configuration asks for; all must be numbers.

    Args:
        base: The model it belongs to, as `skeleton` makes it; it is an adapted one afterwards.

    Returns:
        The skeleton with the adapter in it.

    Raises:
        InputError: when they differ, as over another base, or cannot be read.
    """
    check_files(folder)
    config = load_adapter_config(folder, flag)
    try:
        stored = load_peft_weights(str(folder), device="cpu")
    except LOADING_ERRORS as error:
        raise InputError(f"{flag} {folder}: the adapter cannot be loaded ({reason_of(error)})") from error
    # Or PEFT warns that it is another one than the adapter names.
    config.base_model_name_or_path = base.name_or_path
    adapted = adapter_model(base, config, f"{flag} {folder}")
    wanted = get_peft_model_state_dict(adapted)
    apart = {
        name for name, weight in wanted.items() if getattr(stored.get(name), "shape", None) != weight.shape
    }
    if apart := apart | (stored.keys() - wanted.keys()):
        raise InputError(
            f"{flag} {folder}: its weights are not those that its configuration and base ask for, such as"
            f" {min(apart)}; the base is {base.name_or_path}"
        )
    refuse_not_finite(stored.items(), folder, flag)
    return adapted


def weights_fault(checkpoint: Path, base: Path | None) -> str | None:
    """What is wrong with the weights of a run's checkpoint, `None` when nothing is.

    Args:
        base: Where the weights are that the run started from, which its adapters belong to; `None` when
            they are not on this machine.
    """
    try:
        if is_adapter(checkpoint):
            if base is not None:
                check_adapter(checkpoint, skeleton(base, "the base model"), "its adapter")
        elif any(checkpoint.glob("*.safetensors")) or not (checkpoint / "latest").is_file():
            # DeepSpeed can be told to keep weights in its own form alone.
            skeleton(checkpoint, "its weights")
    except InputError as error:
        return str(error)
    return None
