"""What a run of supervised fine-tuning is about to do: flags, data and model checked, nothing started."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.models.adapters import check_adapter
from curr_reft.models.checkpoints import Checkpoint, checkpoint_at, recorded_box_frame
from curr_reft.models.merge import MERGED, adapter_record
from curr_reft.models.weights import check_finite, is_adapter, local_folder, skeleton
from curr_reft.sft.check import CheckedFile, check_file
from curr_reft.sft.flags import (
    Flags,
    arguments,
    number,
    one_value,
    parse_command_line,
    read_config,
    translate,
    variable,
    with_plugin,
)
from curr_reft.sft.images import ROOT_VARIABLE
from curr_reft.sft.output import check_named_start, find_own_start, is_last
from curr_reft.sft.swift import find_swift, versions_beside
from curr_reft.tasks.registry import load_task_file
from curr_reft.training.checkpoint_state import KEEP_VARIABLE
from curr_reft.training.resume import Start, check_settings, check_unfinished
from curr_reft.training.stopping import GRACE_SECONDS, GRACE_VARIABLE

_OF_THE_PLUGIN = ("stop_grace_seconds", "resumable_checkpoints")
_SHOWN_VARIABLES = (
    *("MAX_PIXELS", "NPROC_PER_NODE", "CUDA_VISIBLE_DEVICES", ROOT_VARIABLE),
    *("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
)


@dataclass(frozen=True)
class SftRun:
    """Everything a run needs, checked."""

    swift: Path
    flags: Flags
    variables: dict[str, str]
    """What the configuration's `ENV` adds to this environment."""
    output_dir: Path
    record: dict[str, Any]
    """What the manifest will hold."""
    unsupported: list[str]
    """What keeps this machine from running the command; empty unless it is a dry run."""
    notes: list[str]
    base: Path | None
    """The folder of the whole weights it starts from, an adapter's base included; `None` where a dry run
    would have to download it."""
    adapter: Checkpoint | None
    """The adapter it starts from, which is merged first."""
    accept_changes: bool
    ending: dict[str, str]
    """What the plugin (`with_plugin`) finds in its environment."""
    start: Start = field(default_factory=Start)
    """Where an unfinished run goes on, found by `going_on`."""

    @property
    def command(self) -> list[str]:
        """What runs swift."""
        flags = self.flags
        if self.adapter is not None:
            flags = {**flags, "model": [os.path.abspath(self.output_dir / MERGED)]}
        if self.resumed_from is not None:
            flags = {**flags, "resume_from_checkpoint": [self.resumed_from]}
            # Whole weights swift would load by the names in the file, which since transformers 5 are not the
            # model's: not one would be found, and it would go on from the base model.
            if not is_adapter(Path(self.resumed_from)):
                flags["model"] = [self.resumed_from]
        return [str(self.swift), "sft", *arguments(flags)]

    @property
    def names_its_start(self) -> bool:
        """Whether the user says where to go on; nothing in the output directory is touched then."""
        return "resume_from_checkpoint" in self.flags

    @property
    def resumed_from(self) -> str | None:
        """What it goes on from, whoever said so."""
        if self.names_its_start:
            return " ".join(self.flags["resume_from_checkpoint"])
        return None if self.start.checkpoint is None else str(self.start.checkpoint)

    @property
    def is_through(self) -> bool:
        """Whether an earlier start trained to the end, and was killed before it said so."""
        return self.start.checkpoint is not None and is_last(self.start.checkpoint)

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
    dry_run = _switch(given, "dry_run")
    accept_changes = _switch(given, "accept_changes")
    flags, notes = translate(config, given)
    ending = {
        GRACE_VARIABLE: str(number(flags, "stop_grace_seconds", GRACE_SECONDS, minimum=0)),
        KEEP_VARIABLE: str(int(number(flags, "resumable_checkpoints", 0, minimum=1))),
    }
    flags = {name: values for name, values in flags.items() if name not in _OF_THE_PLUGIN}
    suites, data_root = _held_out(flags)
    variables = {name: value for name, value in variables.items() if name not in os.environ}
    environment = {**variables, **os.environ}
    output_dir = Path(one_value(flags, "output_dir"))
    model = one_value(flags, "model")
    if not Path(model).is_dir() and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise InputError(f"--model {model}: no such directory")
    max_pixels, rescaled_to = _pixel_limits(flags, environment, notes)
    processes = _processes(environment)

    check_unfinished(output_dir)
    unsupported, versions, swift = _swift(flags)
    if unsupported and not dry_run:
        raise InputError(unsupported[0])
    adapter = _adapter(model, environment)
    base = local_folder(model, "--model", local_only=dry_run) if adapter is None else adapter.weights
    if base is None:
        notes.append(f"{model} is not on this machine yet: its weights are not checked")
    else:
        bones = skeleton(base, "--model")
        check_finite(base, "--model")
        if adapter is not None:
            check_adapter(adapter.path, bones, "--model")
            notes.append(f"the adapter {model} is merged into {base} first, to {output_dir / MERGED}")
    checked = _check_data(
        flags, model if adapter is None else str(base), suites, data_root, max_pixels, rescaled_to
    )
    notes += [warning for each in checked for warning in each.file.warnings]
    notes += [str(each.file) for each in checked]
    notes += _arithmetic(flags, sum(each.seen for each in checked if not each.validation), processes)
    settings = {name: values[0] if len(values) == 1 else values for name, values in flags.items()}
    record = {
        "stage": stage,
        "config": {
            **settings,
            "model_name_or_path": model,
            "deepspeed_file": settings.get("deepspeed"),
            "box_frame": _box_frame(model),
        },
        "starting_adapter": adapter_record(adapter) if adapter else None,
        "processes": processes,
        "variables": _shown(environment) | variables,
        "data": [each.record for each in checked],
        "sft_environment": versions,
    }
    run = SftRun(
        *(swift, with_plugin(flags), variables, output_dir, record, unsupported, notes),
        *(base, adapter, accept_changes, ending),
    )
    return run, dry_run


def _adapter(model: str, environment: Mapping[str, str]) -> Checkpoint | None:
    """The adapter that `--model` names, `None` for whole weights."""
    folder = Path(model)
    if not folder.is_dir() or not is_adapter(folder):
        return None
    if variable(environment, "NNODES", 1) > 1:
        raise InputError(
            f"--model {folder}: an adapter, which for several nodes is to be merged before: 'python -m"
            f" curr_reft.models.merge {folder} OUT', and --model OUT"
        )
    return checkpoint_at(folder, "--model")


def _switch(flags: Flags, name: str) -> bool:
    return flags.pop(name, ["false"]) != ["false"]


def going_on(run: SftRun) -> SftRun:
    """The run with the checkpoint that it goes on from, as the output directory is now.

    Raises:
        InputError: when what the directory holds, or the checkpoint that the user names, is not to be gone
            on with.
    """
    if run.names_its_start:
        changes = check_settings(run.output_dir, run.record, run.accept_changes)
        weights_only = run.flags.get("resume_only_model", ["false"]) != ["false"]
        check_named_start(Path(run.resumed_from), run.base, run.record["processes"], weights_only)
        return replace(run, start=Start(changes=changes))
    return replace(run, start=find_own_start(run.output_dir, run.record, run.base, run.accept_changes))


def _held_out(flags: Flags) -> tuple[Path | None, Path]:
    for path in flags.pop("tasks", []):
        load_task_file(Path(path))
    defaults = {"held_out_suites": "none", "data_root": "grpo_sft_data/grpo_data"}
    asked = {name: flags.pop(name, [default]) for name, default in defaults.items()}
    suites, data_root = (one_value(asked, name) for name in asked)
    return (None if suites == "none" else Path(suites)), Path(data_root)


def _pixel_limits(
    flags: Flags, environment: Mapping[str, str], notes: list[str]
) -> tuple[int | None, int | None]:
    """`MAX_PIXELS`, of the processor, and swift's own `--max_pixels`, to which images are shrunk before."""
    flag = int(number(flags, "max_pixels", 0, minimum=1)) or None
    if "MAX_PIXELS" in environment:
        return variable(environment, "MAX_PIXELS", 1), flag
    if flag is None:
        notes.append("MAX_PIXELS is not set: images of up to 12,845,056 pixels; the release set 401408")
    return None, flag


def _processes(environment: Mapping[str, str]) -> int:
    variable(environment, "NODE_RANK", 0, minimum=0)
    return variable(environment, "NPROC_PER_NODE", 1) * variable(environment, "NNODES", 1)


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


@dataclass(frozen=True)
class _DataFile:
    """A checked file, and what the flags do with it."""

    file: CheckedFile
    validation: bool
    drawn: int | None
    """Rows that swift draws from it, more than once if these are more; `None` for each once."""

    @property
    def seen(self) -> int:
        """Rows of one epoch."""
        return self.file.rows if self.drawn is None else self.drawn

    @property
    def record(self) -> dict[str, Any]:
        """What the manifest holds."""
        return {
            "path": str(self.file.path),
            "rows": self.file.rows,
            "text_only": self.file.text_only,
            "sha256": self.file.sha256,
            "drawn": self.drawn,
            "validation": self.validation,
        }


def _check_data(
    flags: Flags,
    model: str,
    suites: Path | None,
    data_root: Path,
    max_pixels: int | None,
    rescaled_to: int | None,
) -> list[_DataFile]:
    if not flags.get("dataset"):
        raise InputError("--dataset: expected the path of a .jsonl file")
    max_length = int(number(flags, "max_length", 0, minimum=1)) or None
    system = " ".join(flags["system"]) if "system" in flags else None
    checked = []
    for flag, held_out in (("dataset", suites), ("val_dataset", None)):
        for name in flags.get(flag, []):
            path, drawn = _drawn(name)
            if not path.is_file():
                raise InputError(f"--{flag} {name}: no such file")
            limits = max_length, max_pixels, rescaled_to
            file = check_file(path, model, system, *limits, suites=held_out, data_root=data_root)
            checked.append(_DataFile(file, flag == "val_dataset", drawn))
    return checked


def _drawn(name: str) -> tuple[Path, int | None]:
    """Swift takes FILE#N for N rows drawn from the file."""
    path, mark, count = name.rpartition("#")
    if Path(name).exists() or not mark:
        return Path(name), None
    if not count.isdecimal() or int(count) < 1:
        raise InputError(f"{name}: expected a file, or FILE#N for N of its rows")
    return Path(path), int(count)


def _arithmetic(flags: Flags, rows: int, processes: int) -> list[str]:
    """Rows per optimizer step and how often each row is seen, where the flags tell."""
    batch = number(flags, "per_device_train_batch_size", 1, minimum=1)
    accumulation = number(flags, "gradient_accumulation_steps", 0, minimum=1)
    accumulation = accumulation or math.ceil(16 / batch / processes)
    per_step = int(processes * batch * accumulation)
    steps = int(number(flags, "max_steps", -1))
    epochs = steps * per_step / rows if steps > 0 else number(flags, "num_train_epochs", 3, minimum=0)
    steps = steps if steps > 0 else math.ceil(rows * epochs / per_step)
    return [
        f"{per_step} rows per optimizer step ({processes} processes x {batch:g} x {accumulation:g});"
        f" {steps} steps see each of the {rows} rows {epochs:.1f} times"
    ]


def _box_frame(model: str) -> str | None:
    """The frame that the starting checkpoint's boxes are in, which its rows must be in as well."""
    if not Path(model).is_dir():
        return None
    return recorded_box_frame(Checkpoint(Path(model).name, Path(model), None))


def _shown(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in _SHOWN_VARIABLES if name in environment}


def describe(run: SftRun) -> str:
    """The notes, then the command with its environment as a shell takes it, if there is still one to run."""
    variables = _shown({**os.environ, **run.variables}) | run.variables
    spelled = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    lines = [f"note: {note}" for note in (*run.unsupported, *run.notes)]
    if run.is_through:
        said = f"{run.start.checkpoint}: an earlier start trained to the end; swift is not started"
        return "\n".join([*lines, said])
    return "\n".join([*lines, " ".join([*spelled, shlex.join(run.command)])])
