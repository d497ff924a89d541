"""Whether the pinned vLLM runs here and serves a model, found out before any weights load.

python -m curr_reft.models.vllm_support --model MODEL [flags of `vllm serve`]
"""

import importlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import ValidationError

from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.models.weights import refuse_adapter

VERSION = "0.25.1"
MEMORY_SHARE = 0.92
"""Of the device's memory, which vLLM takes where nothing else is said."""
_GIB = 2**30
_CPU_CACHE = "VLLM_CPU_KVCACHE_SPACE"


def vllm_fault(memory_share: float) -> str | None:
    """What keeps vLLM from running on this machine, or `None`; imports no vLLM.

    Args:
        memory_share: The part of the device's memory that vLLM will take, 0 where it runs on another.
    """
    try:
        installed = version("vllm")
    except PackageNotFoundError:
        where = "train_code/README.md (Rollouts by vLLM)"
        return f"vLLM is not installed; {where} says how to install vllm {VERSION}"
    public, _, build = installed.partition("+")
    if public != VERSION:
        return f"vLLM {installed} is installed, and this was written for {VERSION}; install that version"
    if memory_share == 0:
        return None
    return _cpu_fault(memory_share) if "cpu" in build else _gpu_fault(memory_share)


def _cpu_fault(memory_share: float) -> str | None:
    if platform.machine() == "x86_64" and not has_avx2():
        return "vLLM's CPU build needs a processor with AVX2, which this one lacks"
    space = os.environ.get(_CPU_CACHE)
    if space and not (space.isdecimal() and int(space) > 0):
        return f"{_CPU_CACHE}={space}: must be a number of GiB, 1 or more"
    memory = psutil.virtual_memory()
    wanted = int(space) * _GIB if space else memory_share * memory.total
    if wanted > memory.available:
        return (
            f"no room for vLLM's cache: it takes {wanted / _GIB:.1f} GiB and"
            f" {memory.available / _GIB:.1f} GiB of memory are free; set {_CPU_CACHE} to fewer GiB"
        )
    return None


def _gpu_fault(memory_share: float) -> str | None:
    if not torch.cuda.is_available():
        return f"vLLM {VERSION} is installed for GPUs, and this machine has none"
    free, total = torch.cuda.mem_get_info(int(os.environ.get("LOCAL_RANK", "0")))
    if memory_share * total > free:
        return (
            f"no room for vLLM's cache: it takes {memory_share:g} of the GPU's {total / _GIB:.1f} GiB and"
            f" {free / _GIB:.1f} GiB are free; end what else runs on it"
        )
    return None


def has_avx2() -> bool:
    """Whether this Linux machine's processor has AVX2."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and " avx2 " in flags.read_text()


def check_served(model: Path, flag: str, **settings: Any) -> None:
    """Let vLLM read a model's configuration; loads no weights.

    Args:
        model: The checkpoint's folder.
        flag: The flag that names it, for the message.
        settings: Of vLLM's `EngineArgs`.

    Raises:
        InputError: when vLLM cannot serve it, with the first sentence of its reason.
    """
    _check_configuration(_engine_arguments()(model=str(model), **settings), flag)


def _engine_arguments() -> type:
    return importlib.import_module("vllm.engine.arg_utils").EngineArgs


def _check_configuration(arguments: Any, flag: str) -> None:
    try:
        arguments.create_model_config()
    except (OSError, ValueError) as error:
        refuse_adapter(Path(arguments.model), flag)
        words = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        reason = words.removeprefix("Value error, ").partition(". ")[0]
        raise InputError(f"{flag} {arguments.model}: vLLM cannot serve it: {reason}") from error


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Refuse what `vllm serve` cannot do here; its flags that are not the engine's are passed over."""
    # Importing vLLM may fail on a machine that it does not run on, so its own parser comes second.
    early = CommandParser(add_help=False)
    names = ("--gpu-memory-utilization", "--gpu_memory_utilization")
    early.add_argument(*names, type=float, default=MEMORY_SHARE)
    fault = vllm_fault(early.parse_known_args(argv)[0].gpu_memory_utilization)
    if fault is not None:
        raise InputError(fault)
    engine = _engine_arguments()
    flags, _ = engine.add_cli_args(CommandParser()).parse_known_args(argv)
    _check_configuration(engine.from_cli_args(flags), "MODEL")


if __name__ == "__main__":
    main()
