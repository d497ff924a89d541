"""Whole weights in a folder: are all there, under the model's names, in its shapes, and numbers?

transformers makes up what a checkpoint lacks, at random and with a warning at most. Whatever trains or
answers here asks this module first, and loads through it where it loads itself.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.integrations import deepspeed
from transformers.utils import logging as transformers_logging

from curr_reft.errors import InputError
from curr_reft.files.json import read_object

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What transformers, torch and PEFT let through for files and configurations that are none.
LOADING_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RuntimeError),
    *(ImportError, SafetensorError),
)


def has_weights(folder: Path) -> bool:
    """Whether weights of any kind lie in a folder."""
    return any(path.is_file() for pattern in _WEIGHTS for path in folder.glob(pattern))


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole weights."""
    whole = any(path.name != _ADAPTER_WEIGHTS for path in folder.glob("*.safetensors"))
    return (folder / ADAPTER_CONFIG).is_file() and not whole


def refuse_adapter(folder: Path, flag: str) -> None:
    """Raises:
    InputError: when a folder holds an adapter, where whole weights are needed.
    """
    if is_adapter(folder):
        base = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        raise InputError(
            f"{flag} {folder}: an adapter (PEFT) of {base}, not whole weights; name those, or merge the two"
            f" with 'python -m curr_reft.models.merge {folder} OUT' and name OUT"
        )


def download(model: str, where: str, revision: str | None = None, local_only: bool = False) -> Path:
    """The folder of a model of the hub, downloaded when it is not in the hub's cache.

    Raises:
        InputError: when it cannot be had; `where` begins the message.
    """
    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=local_only))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise InputError(
            f"{where}, nor in the hub's cache, and cannot be downloaded ({reason_of(error)})"
        ) from error


def local_folder(model: str, flag: str, revision: str | None = None, local_only: bool = False) -> Path | None:
    """The folder of a model's files: a checkpoint on this machine, or a model of the hub, downloaded if
    need be.

    Args:
        local_only: Download nothing, and return `None` for what would have to be.

    Raises:
        InputError: when it cannot be downloaded.
    """
    if Path(model).is_dir():
        return Path(model)
    try:
        return download(model, f"{flag} {model}: no such directory", revision, local_only)
    except InputError:
        if local_only:
            return None
        raise


def check_files(folder: Path) -> None:
    """Refuse files that were not written to the end, and indices whose files are not all there.

    Reads no more than the files' headers.

    Raises:
        InputError: for the first one.
    """
    stored = {path.name: _names(path) for path in folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        named = read_object(index).get("weight_map")
        if not isinstance(named, dict):
            raise InputError(f"{index}: expected a weight_map")
        if lacking := sorted({str(file) for file in named.values()} - stored.keys()):
            raise InputError(f"{index}: {len(lacking)} of its files are missing, such as {lacking[0]}")
        if apart := sorted(name for name, file in named.items() if name not in stored[file]):
            raise InputError(f"{index}: {named[apart[0]]} does not hold {apart[0]}, which it should")


def _names(path: Path) -> set[str]:
    try:
        # Reads the header, and compares the file's length with it.
        with safe_open(path, "pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not written to the end, or no weights ({error})") from error


def skeleton(folder: Path, flag: str) -> PreTrainedModel:
    """A folder's model on the meta device: every name and shape is compared, no weights are read.

    Raises:
        InputError: when it is an adapter, or its weights are not those that the configuration asks for.
    """
    refuse_adapter(folder, flag)
    check_files(folder)
    with without_zero3():
        return _load(folder, flag, device_map="meta")


def load(folder: Path, flag: str, **options: Any) -> PreTrainedModel:
    """Load whole weights; `options` are others of transformers' `from_pretrained`.

    Raises:
        InputError: when they cannot be read, are not those that the configuration asks for, or no numbers.
    """
    check_files(folder)
    model = _load(folder, flag, **options)
    refuse_not_finite(model.state_dict().items(), folder, flag)
    return model


def _load(folder: Path, flag: str, **options: Any) -> PreTrainedModel:
    try:
        with _quiet():
            model, found = AutoModelForImageTextToText.from_pretrained(
                folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
    except LOADING_ERRORS as error:
        raise InputError(f"{flag} {folder}: the weights cannot be loaded ({reason_of(error)})") from error
    if missing := sorted(found["missing_keys"]):
        others = sorted(found["unexpected_keys"])
        hint = f"; {len(others)} have names of no part of it, such as {others[0]}" if others else ""
        raise InputError(
            f"{flag} {folder}: {len(missing)} of the model's weights are missing, such as {missing[0]}{hint}"
        )
    if found["mismatched_keys"]:
        name, stored, wanted = min(found["mismatched_keys"])
        raise InputError(
            f"{flag} {folder}: {len(found['mismatched_keys'])} weights are of another shape than config.json"
            f" says, such as {name}: {tuple(stored)} instead of {tuple(wanted)}"
        )
    if others := sorted(found["unexpected_keys"]):
        raise InputError(
            f"{flag} {folder}: {len(others)} of its weights have names of no part of the model that"
            f" config.json describes, such as {others[0]}; give the model's own config.json, or take them out"
        )
    return model


def reason_of(error: Exception) -> str:
    """What a library says of a file it cannot load, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def without_zero3() -> Iterator[None]:
    """Without DeepSpeed's ZeRO-3, which would scatter a model's weights over the processes as it is made."""
    configuration = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = configuration


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own table of what a checkpoint lacks, and its bar."""
    verbosity = transformers_logging.get_verbosity()
    had_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bar:
            transformers_logging.enable_progress_bar()


def check_finite(folder: Path, flag: str) -> None:
    """Read a folder's weights once, and refuse what is no number.

    Raises:
        InputError: for the first tensor with NaN or an infinite value, or that cannot be read.
    """
    files = [path for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]
    size = sum(path.stat().st_size for path in files)
    with tqdm(total=size, desc="reading weights", unit="B", unit_scale=True, delay=2) as bar:
        for path in files:
            try:
                refuse_not_finite(_tensors(path), folder, flag)
            except InputError:
                raise
            except LOADING_ERRORS as error:
                raise InputError(f"{flag} {path}: cannot be read ({reason_of(error)})") from error
            bar.update(path.stat().st_size)


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix == ".bin":
        yield from torch.load(path, map_location="cpu", mmap=True, weights_only=True).items()
        return
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            yield name, file.get_tensor(name)


def refuse_not_finite(weights: Iterable[tuple[str, torch.Tensor]], folder: Path, flag: str) -> None:
    """Raises:
    InputError: for the first tensor with NaN or an infinite value.
    """
    for name, weight in weights:
        # torch cannot tell it of numbers of 8 bits.
        if not (weight.float() if weight.element_size() == 1 else weight).isfinite().all():
            raise InputError(f"{flag} {folder}: {name} holds NaN or infinite values; take another checkpoint")
