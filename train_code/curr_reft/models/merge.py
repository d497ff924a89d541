"""An adapter and its base as one whole checkpoint: ``python -m curr_reft.models.merge ADAPTER OUT``."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from curr_reft.errors import InputError, command
from curr_reft.files.atomic import room_below
from curr_reft.files.cli import CommandParser
from curr_reft.files.manifest import mark_finished, sha256_of, write_manifest
from curr_reft.models.adapters import check_adapter
from curr_reft.models.checkpoints import Checkpoint, checkpoint_at, recorded_box_frame
from curr_reft.models.weights import (
    ADAPTER_CONFIG,
    is_adapter,
    load,
    refuse_not_finite,
    skeleton,
    without_zero3,
)

logger = logging.getLogger(__name__)

_PROCESSOR_AND_TOKENIZER = (
    *("*processor_config.json", "chat_template*", "tokenizer*", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt"),
)
MERGED = "merged_start"
"""The folder, in a run's own, of the whole checkpoint that a run starts from when it merges an adapter."""
_DTYPES = ("float32", "bfloat16", "float16")


def merged_model(checkpoint: Checkpoint, flag: str, **options: Any) -> PreTrainedModel:
    """The base of an adapter with the adapter added to its weights.

    Args:
        flag: What named the adapter, for messages.
        options: Others of transformers' `from_pretrained`, for the base.

    Raises:
        InputError: when either cannot be read, they do not fit, or hold what is no number.
    """
    check_adapter(checkpoint.path, skeleton(checkpoint.weights, flag), flag)
    model = load(checkpoint.weights, flag, **options)
    return PeftModel.from_pretrained(model, checkpoint.path).merge_and_unload()


def merge(
    adapter: Path, out: Path, base: Path | None = None, dtype: str = "float32", flag: str = "ADAPTER"
) -> None:
    """Write a whole checkpoint under the published names, with all that belongs to one.

    Its `manifest.json` says what it came from. `out` is there when it is whole, and not before.

    Args:
        base: Where the base is, if not where the adapter says.
        dtype: Type of the weights; a short one rounds most of what an adapter learned away.
        flag: What named the adapter, for messages.

    Raises:
        InputError: when `out` holds something, the folder is no adapter, or as `merged_model` does.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; name a new folder")
    if not os.access(_existing(out), os.W_OK | os.X_OK) or not _existing(out).is_dir():
        raise InputError(f"{out}: cannot be made; name another folder")
    if not adapter.is_dir() or not is_adapter(adapter):
        raise InputError(f"{flag} {adapter}: no adapter (PEFT): a folder with {ADAPTER_CONFIG} is one")
    if base is not None and not base.is_dir():
        raise InputError(f"--base {base}: no such directory")
    checkpoint = checkpoint_at(adapter, flag, base=base)
    checkpoint.processor(flag=flag)
    record = {
        "stage": "merge",
        "config": {
            "model_name_or_path": os.path.abspath(checkpoint.weights),
            "box_frame": recorded_box_frame(checkpoint),
        },
        "dtype": dtype,
        "adapter": adapter_record(checkpoint),
    }
    # Computed in float32, in which the sum is rounded least, and by one process of a run alone.
    with without_zero3():
        model = merged_model(checkpoint, flag, dtype=torch.float32).to(getattr(torch, dtype))
    refuse_not_finite(model.state_dict().items(), adapter, flag)
    part = out.with_name(f".{out.name}.part")
    # What a killed merge has left.
    shutil.rmtree(part, ignore_errors=True)
    try:
        with room_below(_existing(out)):
            model.save_pretrained(part)
            for pattern in _PROCESSOR_AND_TOKENIZER:
                for path in checkpoint.processor_folder.glob(pattern):
                    shutil.copyfile(path, part / path.name)
            write_manifest(part, record)
            mark_finished(part, {})
            part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    logger.info("%s: %s merged into %s", out, adapter, checkpoint.weights)


def merged_start(adapter: Path, output_dir: Path, goes_on_from: Path | None, flag: str) -> Path:
    """Merge the adapter that a run starts from, for good: what the run leaves may be an adapter over it.

    Args:
        goes_on_from: The run's checkpoint, `None` when it begins; then what an earlier start merged goes.

    Raises:
        InputError: when an earlier start's is gone, or as `merge` does.
    """
    # An adapter over it names it, and is read from other folders.
    folder = (output_dir / MERGED).absolute()
    if goes_on_from is None:
        shutil.rmtree(folder, ignore_errors=True)
        merge(adapter, folder, flag=flag)
    elif not folder.is_dir():
        raise InputError(f"{folder}: gone, and {goes_on_from} belongs to it; choose another --output_dir")
    return folder


def adapter_record(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a manifest says of an adapter that something was made from."""
    files = sorted(checkpoint.path.glob("adapter_model.*"))
    return {
        "path": os.path.abspath(checkpoint.path),
        "sha256": {path.name: sha256_of(path) for path in files},
        "base": os.path.abspath(checkpoint.weights),
    }


def _existing(folder: Path) -> Path:
    return next(parent for parent in folder.absolute().parents if parent.exists())


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Merge an adapter and its base."""
    parser = CommandParser(
        prog="python -m curr_reft.models.merge",
        description="Write an adapter and its base as one whole checkpoint.",
    )
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="folder of an adapter (PEFT)")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--base", type=Path, help="where the base is, if not where the adapter says")
    parser.add_argument(
        "--dtype",
        choices=_DTYPES,
        default="float32",
        help="type of the weights; bfloat16 is half as large and rounds small changes away",
    )
    flags = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    merge(flags.adapter, flags.out, flags.base, flags.dtype)


if __name__ == "__main__":
    main()
