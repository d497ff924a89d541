"""What was done of a curriculum: its manifest and one of each step, below ``OUTPUT/curriculum``."""

import fcntl
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from curr_reft.curriculum.checkpoint_choice import chosen_checkpoint
from curr_reft.curriculum.steps import BASE, EVALUATION, RECORDS, Curriculum, Step, trains
from curr_reft.files.manifest import read_manifest

WAITING, RUNNING, FINISHED, KILLED = "waiting", "running", "finished", "killed"

Record = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """How far a step is."""

    state: str
    """`waiting`; `running`; `finished`; `stopped`, `diverged` or `failed`; `killed` where it says that it
    runs and nothing runs."""
    record: Record | None
    """The step's manifest."""
    run: Record | None
    """The manifest of the training run that it started."""


def is_at_work(records: Path) -> bool:
    """Whether a program, or what one has started, holds the folder of the records."""
    try:
        folder = os.open(records, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two that ask do not take one another for a program.
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(folder)


def read_done(step: Step, curriculum: Curriculum) -> Done:
    """How far a step of a curriculum is that is not at work."""
    return read_state(curriculum.output_dir, step.name, step.run, at_work=False)


def read_state(output_dir: Path, name: str, run: str, at_work: bool) -> Done:
    """How far a step is, by its manifest and that of its run; one that another command started counts.

    Args:
        run: What the step runs.
        at_work: Whether the curriculum is being run.

    Raises:
        InputError: when one of the two is no manifest.
    """
    record, folder = read_manifest(output_dir / RECORDS / name), output_dir / name
    training = read_manifest(folder) if trains(run) else None
    if training and training["status"] == FINISHED:
        return Done(FINISHED, record, training)
    state = (record or training or {}).get("status", WAITING)
    if state == FINISHED and (trains(run) or not folder.is_dir()):
        # What it left was taken away.
        return Done(WAITING, record, training)
    return Done(KILLED if state == RUNNING and not at_work else state, record, training)


def time_taken(how_far: Done) -> timedelta:
    """From the last start of a finished step to its end."""
    record = how_far.run or how_far.record or {}
    started, ended = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
    return timedelta(seconds=round((ended - started).total_seconds()))


def starts_of(step: Step, curriculum: Curriculum) -> dict[str, Record]:
    """What a step starts from or reports on, by the names of steps: where, and when it was made.

    Raises:
        InputError: when a step that is named has no such checkpoint.
    """
    names = [name for name in (step.start, step.data, *step.of) if name]
    return {name: _left_by(name, step, curriculum) for name in names}


def _left_by(name: str, step: Step, curriculum: Curriculum) -> Record:
    if name == BASE:
        return {"place": curriculum.model}
    before, folder = curriculum.step(name), curriculum.folder(name)
    record = read_manifest(folder if before.trains else curriculum.records / name) or {}
    if name == step.start:
        folder = chosen_checkpoint(folder, step.checkpoint)
    elif before.trains and step.run == EVALUATION:
        folder = chosen_checkpoint(folder, curriculum.handed_on(name))
    return {"place": str(folder), "ended": record.get("ended")}
