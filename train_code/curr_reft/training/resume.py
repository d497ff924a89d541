"""May a run start in its output directory, and where does it go on? One answer for stages and fine-tuning."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.manifest import checkpoint_step, checkpoints_below, read_manifest
from curr_reft.training.checkpoint_state import is_whole, state_fault

logger = logging.getLogger(__name__)

# Settings that change no weights: the model and data are compared by what they are, not where they lie.
_PLACES = (
    *("output_dir", "logging_dir", "model", "model_name_or_path", "load_args"),
    *("dataset", "val_dataset", "dataset_name", "image_root", "data_root", "held_out_suites", "tasks"),
    "filter_solved",
)
_SHOWN = ("run_name", "project", "report_to", "trackio_space_id", "num_completions_to_print", "disable_tqdm")
_KEPT = ("resumable_checkpoints", "create_checkpoint_symlink")
_MEMORY = (
    *("max_packed_tokens", "gradient_checkpointing", "gradient_checkpointing_kwargs"),
    *("vit_gradient_checkpointing", "vllm_gpu_memory_utilization"),
    *("deepspeed", "deepspeed_plugin"),  # compared as deepspeed_file, which a dry run keeps
)
_STARTS_AND_ENDS = (
    *("resume_from_checkpoint", "resume_only_model", "ignore_data_skip"),
    *("dry_run", "accept_changes", "machine_notes", "use_cpu", "accelerator_config", "enable_jit_checkpoint"),
    *("forbid_leaks", "stop_grace_seconds", "stop_on_divergence", "max_kl"),
    *("early_stopping_patience", "early_stopping_threshold"),
)
_FREE = (*_PLACES, *_SHOWN, *_KEPT, *_MEMORY, *_STARTS_AND_ENDS)
_FREE_BEGINNINGS = ("logging_", "log_", "save_", "hub_", "push_to_hub", "dataloader_", "ddp_", "wandb_")
# What the state of an optimizer hangs on.
_FIXED = (
    *("optim", "use_peft", "lora_r", "lora_target_modules", "adapter", "freeze_vision"),
    "dynamic_sampling",  # how far its stream was drawn
    *("tuner_type", "lora_rank", "target_modules"),  # ms-swift's
)
_OF_FILES = {
    "data": "other rows of data",
    "code": "other tasks or rewards of one's own",
    "solved": "other scores for --filter_solved",
    "starting_adapter": "another adapter to start from",
}
_SHOWN_CHANGES = 12


@dataclass(frozen=True)
class Start:
    """Where a run starts in its output directory."""

    checkpoint: Path | None = None
    """What it goes on from, `None` for the beginning."""
    changes: dict[str, list[Any]] = field(default_factory=dict)
    """Settings that differ from the earlier start's and were accepted: before and now."""
    torn: tuple[Path, ...] = ()
    """Later checkpoints whose weights cannot be read."""
    passed_over: tuple[Path, ...] = ()
    """Later checkpoints whose weights can be read, over which the run would write."""

    @property
    def step(self) -> int:
        """Optimizer steps that are done."""
        return 0 if self.checkpoint is None else checkpoint_step(self.checkpoint) or 0

    def clear(self, output_dir: Path) -> None:
        """Remove what is torn, and set aside what would be written over.

        Half of a checkpoint written over another one could not be told from a whole one.
        """
        for path in self.torn:
            shutil.rmtree(path)
        if self.passed_over:
            names = (output_dir / f"earlier-start-{number}" for number in count(1))
            aside = next(path for path in names if not path.exists())
            aside.mkdir()
            for path in self.passed_over:
                path.rename(aside / path.name)
            moved = ", ".join(path.name for path in self.passed_over)
            logger.warning("%s: %s, whose steps are done again, now in %s", output_dir, moved, aside.name)


def changes_nothing(name: str) -> bool:
    """Whether a setting may change without another run coming of it, wherever its files lie."""
    return (name in _FREE and name not in _PLACES) or name.startswith(_FREE_BEGINNINGS)


def started(checkpoint: str | None, changes: dict[str, list[Any]]) -> dict[str, Any]:
    """What a manifest says of where a run went on and which settings it changed; nothing of a plain start."""
    resumed = {} if checkpoint is None else {"resumed_from": checkpoint}
    return resumed | ({"accepted_changes": changes} if changes else {})


def check_unfinished(output_dir: Path) -> dict[str, Any] | None:
    """The manifest of an unfinished run in `output_dir`, `None` when there is no manifest.

    Raises:
        InputError: when it is no directory, or holds a finished run.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"--output_dir {output_dir}: not a directory")
    before = read_manifest(output_dir)
    if before is not None and before["status"] == "finished":
        raise InputError(f"--output_dir {output_dir}: holds a finished run; choose another or remove it")
    return before


def find_start(
    output_dir: Path,
    record: dict[str, Any],
    weights_fault: Callable[[Path], str | None],
    accept_changes: bool = False,
    requested: str | None = None,
) -> Start:
    """Where the run that `record` tells of starts: at the newest checkpoint from which it can go on.

    Args:
        record: What its manifest will hold: `stage`, `config`, `processes`, `data`.
        weights_fault: What is wrong with a checkpoint's weights, `None` when nothing is.
        accept_changes: Go on although settings differ from those of the earlier start.
        requested: A checkpoint that the user names.

    Raises:
        InputError: when the directory holds a finished run, another one, one with other settings,
            checkpoints of nobody knows what, or when the requested checkpoint is none to go on from.
    """
    before = check_unfinished(output_dir)
    checkpoints = checkpoints_below(output_dir)
    if before is None and checkpoints and requested is None:
        raise InputError(
            f"--output_dir {output_dir}: holds {checkpoints[0].name} and no manifest of a run; choose another"
        )
    # Without a checkpoint nothing of the earlier start is left to contradict.
    changes = check_settings(output_dir, record, accept_changes or not checkpoints)
    # The last start may have been of other processes than the one that wrote the checkpoints.
    starts = [before, *before.get("earlier_starts", [])] if before else [record]
    counts = list(dict.fromkeys(start.get("processes") or record["processes"] for start in starts))

    def fault(checkpoint: Path) -> str | None:
        faults = [state_fault(checkpoint, count) for count in counts]
        return (None if None in faults else faults[0]) or weights_fault(checkpoint)

    if requested is not None:
        checkpoint = Path(requested)
        if not checkpoint.is_dir():
            raise InputError(f"--resume_from_checkpoint {requested}: no such directory")
        if reason := fault(checkpoint):
            raise InputError(
                f"--resume_from_checkpoint {requested}: {reason}; to start from its weights name it as the"
                " model, in another --output_dir"
            )
        _check_state(checkpoint, counts, record)
        start = Start(checkpoint, changes)
        later = [path for path in checkpoints if (checkpoint_step(path) or 0) > start.step]
        return replace(start, passed_over=tuple(later))
    torn, passed_over = [], []
    for checkpoint in reversed(checkpoints):
        reason = fault(checkpoint)
        if reason is None:
            _check_state(checkpoint, counts, record)
            return Start(checkpoint, changes, tuple(torn), tuple(passed_over))
        logger.warning("%s cannot be gone on from: %s", checkpoint, reason)
        whole = is_whole(checkpoint) and weights_fault(checkpoint) is None
        (passed_over if whole else torn).append(checkpoint)
    return Start(None, {}, tuple(torn), tuple(passed_over))


def check_settings(output_dir: Path, record: dict[str, Any], accept_changes: bool) -> dict[str, list[Any]]:
    """Settings that differ from those of the unfinished run in a directory, by name: before and now.

    Raises:
        InputError: when that is a run of another stage or model, or when settings differ unaccepted.
    """
    before = check_unfinished(output_dir)
    if before is None:
        return {}
    (stage, model), (new_stage, new_model) = map(_identity, (before, record))
    if stage != new_stage or Path(model).resolve() != Path(new_model).resolve():
        raise InputError(
            f"--output_dir {output_dir}: holds an unfinished run of {stage} from {model}, not of"
            f" {new_stage} from {new_model}; choose another"
        )
    then, now = _settings(before), _settings(json.loads(json.dumps(record, default=str)))
    changes = {
        name: [then.get(name), now.get(name)]
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    }
    if checkpoints_below(output_dir) and (fixed := changes.keys() & set(_FIXED)):
        raise InputError(
            f"--output_dir {output_dir}: its checkpoints fit no run of"
            f" {_told({name: changes[name] for name in sorted(fixed)})}; choose another directory"
        )
    if changes and not accept_changes:
        raise InputError(
            f"--output_dir {output_dir}: its unfinished run had other settings: {_told(changes)}; give the"
            " earlier ones, choose another directory, or go on with the new ones by --accept_changes"
        )
    return changes


def _identity(record: dict[str, Any]) -> tuple[str, str]:
    return str(record.get("stage")), str((record.get("config") or {}).get("model_name_or_path"))


def _settings(record: dict[str, Any]) -> dict[str, Any]:
    """What makes another run of one when it changes; files are compared by what they hold, not where
    they lie."""
    config = record.get("config") or {}
    settings = {
        name: value
        for name, value in config.items()
        if name not in _FREE
        and not name.startswith(_FREE_BEGINNINGS)
        and (config.get("use_peft") or not name.startswith("lora_"))
    }
    return {
        **settings,
        "data": [{**file, "path": None, "json_path": None} for file in record.get("data") or []],
        # Names of files with tasks and rewards may differ, what stands in them may not.
        "code": sorted((record.get("code") or {}).values()),
        "solved": (record.get("solved") or {}).get("sha256"),
        "starting_adapter": (record.get("starting_adapter") or {}).get("sha256"),
        "processes": record.get("processes"),
        "MAX_PIXELS": (record.get("variables") or {}).get("MAX_PIXELS"),
    }


def _told(changes: dict[str, list[Any]]) -> str:
    told = [
        _OF_FILES[name] if name in _OF_FILES else f"{name} {_spelt(now)} instead of {_spelt(then)}"
        for name, (then, now) in changes.items()
    ]
    shown = ", ".join(told[:_SHOWN_CHANGES])
    more = f" and {len(told) - _SHOWN_CHANGES} more" if len(told) > _SHOWN_CHANGES else ""
    return f"{shown}{more}"


def _spelt(value: Any) -> str:
    return "not set" if value is None else str(value)[:80]


def _check_state(checkpoint: Path, counts: list[int], record: dict[str, Any]) -> None:
    """Refuse an optimizer's state that the run to come cannot take, whatever changes are accepted."""
    of_deepspeed = (checkpoint / "latest").is_file()
    now = record["processes"]
    if of_deepspeed and state_fault(checkpoint, now) is not None:
        before = next(count for count in counts if state_fault(checkpoint, count) is None)
        raise InputError(
            f"{checkpoint}: DeepSpeed's optimizer state of {before} processes, from which {now} cannot go on"
        )
    if of_deepspeed != bool(record["config"].get("deepspeed_file")):
        there, asked = ("DeepSpeed", "without") if of_deepspeed else ("a run without DeepSpeed", "with")
        raise InputError(
            f"{checkpoint}: holds the optimizer state of {there}, from which none {asked} can go on"
        )
