"""The output directory of a fine-tuning run: what it may hold before, where it goes on, its final weights."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.manifest import can_go_on, checkpoint_step, checkpoints_below, read_manifest

logger = logging.getLogger(__name__)

LOG = "swift.log"
_STEP_LOG = "logging.jsonl"
# Swift adds to them when it starts again.
_ADDED_TO = ("val_dataset.jsonl", _STEP_LOG)
# Of a checkpoint, what only a run that goes on needs.
_OF_THE_OPTIMIZER = (
    "optimizer",
    "scheduler",
    "rng_state",
    "training_args",
    "latest",
    "zero_to_fp32",
    "args.json",
)


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


def find_start(output_dir: Path, record: dict[str, Any]) -> Path | None:
    """The checkpoint that an unfinished run in `output_dir` goes on from, `None` for a start from the model.

    Args:
        record: What the manifest of the run to come will hold: `stage`, `config` and `data`.

    Raises:
        InputError: when the directory holds a finished run, another one, or checkpoints of nobody knows what.
    """
    where = f"--output_dir {output_dir}"
    before = check_unfinished(output_dir)
    checkpoints = checkpoints_below(output_dir)
    if before is None:
        if checkpoints:
            raise InputError(f"{where}: holds {checkpoints[0].name} and no manifest of a run; choose another")
        return None
    if _identity(before) != _identity(record):
        raise InputError(
            f"{where}: holds an unfinished run of {before.get('stage')} from another model or on other data;"
            " choose another"
        )
    complete = [path for path in checkpoints if can_go_on(path)]
    return complete[-1] if complete else None


def _identity(record: dict[str, Any]) -> tuple[Any, ...]:
    model = str((record.get("config") or {}).get("model_name_or_path"))
    data = [file.get("sha256") for file in record.get("data") or []]
    return record.get("stage"), str(Path(model).resolve()) if Path(model).exists() else model, data


def clear_for(start: Path | None, output_dir: Path) -> None:
    """Remove what an unfinished run left beyond `start`, so that nothing stands there twice.

    Without a checkpoint to go on from that is all of its checkpoints: they hold weights only.
    """
    last = checkpoint_step(start) if start is not None else 0
    beyond = [path for path in checkpoints_below(output_dir) if (checkpoint_step(path) or 0) > (last or 0)]
    for path in beyond:
        shutil.rmtree(path)
    if start is not None:
        logger.info("going on from %s", start)
    elif beyond:
        logger.info(
            "starting over: the %d checkpoints of the unfinished run hold weights only (--save_only_model"
            " true) or were not written to the end, and are removed",
            len(beyond),
        )
    steps = _kept_steps(output_dir / _STEP_LOG, last or 0)
    for name in (*_ADDED_TO, *((LOG,) if start is None else ())):
        (output_dir / name).unlink(missing_ok=True)
    if start is None:
        shutil.rmtree(output_dir / "runs", ignore_errors=True)
    else:
        (output_dir / _STEP_LOG).write_text(steps, encoding="utf-8")


def _kept_steps(log: Path, last: int) -> str:
    """The lines of swift's log of steps up to a step; its summaries are left out."""
    if not log.is_file():
        return ""
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            step = str(json.loads(line)["global_step/max_steps"]).partition("/")[0]
        except (ValueError, KeyError, TypeError):
            continue
        if step.isdecimal() and int(step) <= last and "train_runtime" not in line:
            kept.append(line)
    return "".join(kept)


def keep_final(output_dir: Path) -> Path:
    """Put the last checkpoint's weights, processor and state into the directory itself, as a stage does.

    Files are linked, which takes no space, and copied where the file system has no links.

    Raises:
        InputError: when there is no checkpoint.
    """
    checkpoints = checkpoints_below(output_dir)
    if not checkpoints:
        raise InputError(f"--output_dir {output_dir}: swift wrote no checkpoint; see {output_dir / LOG}")
    for path in sorted(checkpoints[-1].iterdir()):
        if path.is_file() and not path.name.startswith(_OF_THE_OPTIMIZER):
            target = output_dir / path.name
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copy2(path, target)
    return checkpoints[-1]
