"""Running a curriculum: finished steps are passed over, unfinished ones go on, changed ones stop it."""

import logging
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from curr_reft.curriculum.changes import changes
from curr_reft.curriculum.commands import Command, commands_of, write_settings
from curr_reft.curriculum.document import REPOSITORY, Settings
from curr_reft.curriculum.following import Followers, followers
from curr_reft.curriculum.nodes import Nodes
from curr_reft.curriculum.records import FINISHED, read_done, starts_of
from curr_reft.curriculum.steps import BASE, EVALUATION, REPORT, Curriculum, Step
from curr_reft.errors import CommandError, DivergedError, InputError, StoppedError, error_of
from curr_reft.files.journal import sole_writer
from curr_reft.files.manifest import mark_ended, write_manifest
from curr_reft.lifetime import own_children, run_child

logger = logging.getLogger(__name__)

LOG = "log.txt"
# They go by what was answered already, so that doing them again with other settings loses nothing.
_DONE_AGAIN = (EVALUATION, REPORT)


def run_curriculum(
    curriculum: Curriculum, steps: Sequence[Step], nodes: Nodes, accept_changes: bool = False
) -> None:
    """Run the steps that are not finished, one after the other; this is what the first node does.

    Args:
        steps: Those to be run; the models that others leave for them must be there.
        accept_changes: Go on although settings differ from those of earlier starts.

    Raises:
        InputError: when settings or starts changed, or another program is at work there.
        CommandError: when a step's command failed, with its exit code.
    """
    own_children()
    with sole_writer(curriculum.records) as lock:
        if not accept_changes:
            refuse_changes(curriculum)
        write_manifest(curriculum.records, {"config": _as_done(curriculum)})
        try:
            with followers(nodes) as others:
                for step in steps:
                    if is_done(step, curriculum):
                        logger.info("%s is finished: %s", step.name, curriculum.folder(step.name))
                    else:
                        _run_step(step, curriculum, nodes, others, lock, accept_changes)
        except BaseException as error:
            _record_end(curriculum, None, error)
            raise
        if left := [step.name for step in curriculum.steps if read_done(step, curriculum).state != FINISHED]:
            mark_ended(curriculum.records, "stopped", reason=f"{left[0]} was not asked for")
        else:
            mark_ended(curriculum.records, FINISHED)
    logger.info("done: %s", curriculum.output_dir)


def is_done(step: Step, curriculum: Curriculum) -> bool:
    """Whether a step is finished, and need not be done again with other settings."""
    how_far = read_done(step, curriculum)
    if how_far.state != FINISHED or step.run not in _DONE_AGAIN:
        return how_far.state == FINISHED
    return not changes(how_far.record or {}, step, starts_of(step, curriculum))


def _as_done(curriculum: Curriculum) -> Settings:
    """The curriculum's document, in which finished steps are as they were when they were run."""
    document = curriculum.document()
    for number, step in enumerate(curriculum.steps):
        how_far = read_done(step, curriculum)
        if how_far.state == FINISHED and how_far.record is not None:
            document["steps"][number] = how_far.record["step"]
    return document


def refuse_changes(curriculum: Curriculum) -> None:
    """An unfinished step is not looked at here: its own command compares what it goes on with.

    Raises:
        InputError: when finished steps have other settings now, or other starts; it tells of all of them.
    """
    told = []
    for step in curriculum.steps:
        how_far = read_done(step, curriculum)
        if how_far.state != FINISHED or how_far.record is None or step.run in _DONE_AGAIN:
            continue
        if step.start in ("", BASE) or read_done(curriculum.step(step.start), curriculum).state == FINISHED:
            changed = changes(how_far.record, step, starts_of(step, curriculum))
        else:
            changed = [f"{step.start}, which it started from, is not finished"]
        if changed:
            told.append(f"{step.name}: {', '.join(changed)}")
    if told:
        raise InputError(
            f"{curriculum.output_dir}: done otherwise: {'; '.join(told)}; give the earlier ones, remove"
            f" these steps' folders and records ({curriculum.records.name}/STEP) to do them again, or go on"
            " by --accept_changes"
        )


def _run_step(
    step: Step,
    curriculum: Curriculum,
    nodes: Nodes,
    others: Followers,
    lock: int,
    accept_changes: bool,
) -> None:
    records = curriculum.records / step.name
    records.mkdir(exist_ok=True)
    starts = starts_of(step, curriculum)
    models = {name: start["place"] for name, start in starts.items()}
    commands = list(commands_of(step, curriculum, models, nodes, write_settings(step, records)))
    if accept_changes and step.trains:
        commands = [replace(each, arguments=(*each.arguments, "--accept_changes")) for each in commands]
    write_manifest(
        records,
        {
            "step": step.keys(),
            "starts": starts,
            "commands": [shlex.join(each.arguments) for each in commands],
        },
    )
    try:
        for command in commands:
            _run(step, command, curriculum, others, lock)
    except BaseException as error:
        _record_end(curriculum, step, error)
        raise
    mark_ended(records, FINISHED)


def _run(step: Step, command: Command, curriculum: Curriculum, others: Followers, lock: int) -> None:
    logger.info("%s: %s", step.name, shlex.join(command.arguments))
    log = curriculum.records / step.name / LOG
    if command.everywhere:
        others.start(command)
    code, received = run_child(command.arguments, command.environment, log, lock, folder=REPOSITORY)
    if received is not None:
        raise StoppedError(f"stopped by {received.name} in {step.name}; the same command goes on")
    # Before this node's own end is told of: 1 may mean that another node is gone.
    if command.everywhere and code in (0, 1):
        others.join(code)
    if code:
        raise error_of(code, f"{step.name} ended with exit code {code}; what it printed is in {log}")


def _record_end(curriculum: Curriculum, step: Step | None, error: BaseException) -> None:
    """Write down how a step ended, or the whole."""
    statuses: dict[type, str] = {
        StoppedError: "stopped",
        KeyboardInterrupt: "stopped",
        DivergedError: "diverged",
    }
    details: dict[str, Any] = {
        "reason": str(error) if isinstance(error, CommandError) else f"{type(error).__name__}: {error}"
    }
    folder = curriculum.records / step.name if step else curriculum.records
    try:
        mark_ended(folder, statuses.get(type(error), "failed"), **details)
    except InputError as unwritten:
        # On a full disk; what ended the run is to be said, not this.
        logger.error("%s", unwritten)
