"""What a run of supervised fine-tuning is about to do: flags, data and model checked, nothing started."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.sft.check import CheckedFile, check_file
from curr_reft.sft.flags import (
    Flags,
    arguments,
    number,
    one_value,
    parse_command_line,
    read_config,
    translate,
)
from curr_reft.sft.output import check_unfinished, find_start
from curr_reft.sft.pictures import ROOT_VARIABLE
from curr_reft.sft.swift import find_swift, versions_beside

_SHOWN_VARIABLES = (
    *("MAX_PIXELS", "NPROC_PER_NODE", "CUDA_VISIBLE_DEVICES", ROOT_VARIABLE),
    *("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
)


@dataclass(frozen=True)
class SftRun:
    """Everything a run needs, checked."""

    command: list[str]
    variables: dict[str, str]
    """What the configuration's `ENV` adds to this environment."""
    output_dir: Path
    record: dict[str, Any]
    """What the manifest will hold."""
    start: Path | None
    """The checkpoint of an unfinished run to go on from."""
    obstacles: list[str]
    """What keeps this machine from running the command; empty unless it is a dry run."""
    notes: list[str]

    @property
    def is_first_node(self) -> bool:
        """Whether this is the node that writes; with one node it is."""
        return os.environ.get("NODE_RANK", "0") == "0"


def prepare(stage: str, argv: Sequence[str]) -> tuple[SftRun, bool]:
    """Parse and translate flags, check model and data; starts nothing. The second is `--dry_run`.

    Raises:
        InputError: for the first thing that is wrong.
    """
    config, given, variables = {}, parse_command_line(argv), {}
    if "config" in given:
        config, variables = read_config(Path(one_value(given, "config")))
        del given["config"]
    dry_run = given.pop("dry_run", ["false"]) != ["false"]
    flags, notes = translate(config, given)
    suites, data_root = _held_out(flags)
    variables = {name: value for name, value in variables.items() if name not in os.environ}
    output_dir = Path(one_value(flags, "output_dir"))
    model = one_value(flags, "model")
    if not Path(model).is_dir() and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise InputError(f"--model {model}: no such directory")
    max_pixels = _max_pixels({**variables, **os.environ}, notes)

    check_unfinished(output_dir)
    obstacles, versions, swift = _swift(flags)
    if obstacles and not dry_run:
        raise InputError(obstacles[0])
    checked = _check_data(flags, model, suites, data_root, max_pixels)
    notes += [warning for file in checked for warning in file.warnings] + [str(file) for file in checked]
    notes += _arithmetic(flags, checked[0].rows)
    settings = {name: values[0] if len(values) == 1 else values for name, values in flags.items()}
    record = {
        "stage": stage,
        "config": {**settings, "model_name_or_path": model, "box_frame": _box_frame(model)},
        "variables": _shown({**os.environ, **variables}) | variables,
        "data": [
            {"path": str(file.path), "rows": file.rows, "text_only": file.text_only, "sha256": file.sha256}
            for file in checked
        ],
        "sft_environment": versions,
    }
    start = find_start(output_dir, record)
    if start is not None and "resume_from_checkpoint" not in flags:
        flags["resume_from_checkpoint"] = [str(start)]
    run = SftRun(
        [str(swift), "sft", *arguments(flags)], variables, output_dir, record, start, obstacles, notes
    )
    return run, dry_run


def _held_out(flags: Flags) -> tuple[Path | None, Path]:
    suites = flags.pop("held_out_suites", ["none"])
    data_root = flags.pop("data_root", ["grpo_sft_data/grpo_data"])
    return (None if suites == ["none"] else Path(suites[0])), Path(data_root[0])


def _max_pixels(environment: Mapping[str, str], notes: list[str]) -> int | None:
    text = environment.get("MAX_PIXELS")
    if not text:
        notes.append("MAX_PIXELS is not set: pictures of up to 12,845,056 pixels; the release set 401408")
        return None
    if not text.isdecimal():
        raise InputError(f"MAX_PIXELS={text}: expected a number of pixels")
    return int(text)


def _swift(flags: Flags) -> tuple[list[str], dict[str, str], Path]:
    """What is in the way of running swift, the versions of its environment, and its executable."""
    try:
        swift = find_swift()
        versions = versions_beside(swift)
    except InputError as error:
        return [str(error)], {}, Path("swift")
    flash = [value for value in flags.get("attn_impl", []) if value.startswith("flash")]
    if flash and "flash-attn" not in versions:
        return (
            [
                f"--attn_impl {flash[0]}: flash-attn is not installed beside {swift}; on a GPU install it"
                " with 'bash scripts/setup.sh --flash-attn', elsewhere pass --attn_impl sdpa"
            ],
            versions,
            swift,
        )
    return [], versions, swift


def _check_data(
    flags: Flags, model: str, suites: Path | None, data_root: Path, max_pixels: int | None
) -> list[CheckedFile]:
    names = flags.get("dataset")
    if not names:
        raise InputError("--dataset: expected the path of a .jsonl file")
    max_length = int(number(flags, "max_length", 0)) or None
    system = " ".join(flags["system"]) if "system" in flags else None
    checked = []
    for flag, held_out in (("dataset", suites), ("val_dataset", None)):
        for name in flags.get(flag, []):
            # Swift takes FILE#N for N rows drawn from the file.
            path = Path(name if Path(name).exists() else name.rpartition("#")[0] or name)
            if not path.is_file():
                raise InputError(f"--{flag} {name}: no such file")
            checked.append(check_file(path, model, system, max_length, max_pixels, held_out, data_root))
    return checked


def _arithmetic(flags: Flags, rows: int) -> list[str]:
    """Rows per optimizer step and how often each row is seen, where the flags tell."""
    processes = int(os.environ.get("NPROC_PER_NODE", "1")) * int(os.environ.get("NNODES", "1"))
    batch = number(flags, "per_device_train_batch_size", 1)
    accumulation = number(flags, "gradient_accumulation_steps", 0) or math.ceil(16 / batch / processes)
    per_step = int(processes * batch * accumulation)
    steps = int(number(flags, "max_steps", -1))
    epochs = steps * per_step / rows if steps > 0 else number(flags, "num_train_epochs", 3)
    steps = steps if steps > 0 else math.ceil(rows * epochs / per_step)
    return [
        f"{per_step} rows per optimizer step ({processes} processes x {batch:g} x {accumulation:g});"
        f" {steps} steps see each of the {rows} rows {epochs:.1f} times"
    ]


def _box_frame(model: str) -> str | None:
    """The frame that the starting checkpoint's boxes are in, which its rows must be in as well."""
    if not Path(model).is_dir():
        return None
    from curr_reft.evaluation.checkpoints import Checkpoint, recorded_box_frame

    return recorded_box_frame(Checkpoint(Path(model).name, Path(model), None))


def _shown(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in _SHOWN_VARIABLES if name in environment}


def describe(run: SftRun) -> str:
    """The notes, then the command with its environment as a shell takes it."""
    variables = _shown({**os.environ, **run.variables}) | run.variables
    spelled = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    lines = [f"note: {note}" for note in (*run.obstacles, *run.notes)]
    return "\n".join([*lines, " ".join([*spelled, shlex.join(run.command)])])
