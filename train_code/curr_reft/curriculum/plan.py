"""What the steps of a curriculum are about to do (``--dry_run``): each stage and fine-tuning plans itself."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from curr_reft.curriculum.commands import ROWS, commands_of, write_settings
from curr_reft.curriculum.document import REPOSITORY
from curr_reft.curriculum.following import Followers, followers
from curr_reft.curriculum.nodes import Nodes
from curr_reft.curriculum.records import FINISHED, Done, read_done, starts_of, time_taken
from curr_reft.curriculum.steps import BASE, EVALUATION, REJECTION_SAMPLING, Curriculum, Step
from curr_reft.data.suites import load_suites
from curr_reft.errors import error_of
from curr_reft.self_improvement.sources import load_composition


def print_plans(curriculum: Curriculum, steps: Sequence[Step], nodes: Nodes) -> None:
    """Print the plan of each step; starts nothing else, and writes nothing. The first node does this.

    A step whose start is not there yet plans with the base.

    Raises:
        CommandError: when one of them finds something wrong, with its exit code.
    """
    with followers(nodes) as others:
        for number, step in enumerate(steps, 1):
            how_far = read_done(step, curriculum)
            _say(f"== {number}/{len(steps)} {step.name}: {_heading(curriculum, step, how_far)}")
            if how_far.state != FINISHED:
                _plan(step, curriculum, nodes, others)


def _plan(step: Step, curriculum: Curriculum, nodes: Nodes, others: Followers) -> None:
    names = [step.start] if step.start else list(step.of)
    models = {name: _model(name, step, curriculum) for name in names}
    if step.data is not None and not (rows := curriculum.folder(step.data) / ROWS).is_file():
        _say(f"{rows} is written by {step.data}, which has not run: its plan has to wait")
        return
    if step.run == REJECTION_SAMPLING:
        quotas = {source.name: source.quota for source in load_composition(Path(str(step.config))).sources}
        _say(
            f"{sum(quotas.values())} answers wanted: {', '.join(f'{name} {n}' for name, n in quotas.items())}"
        )
    elif step.run == EVALUATION and step.config is not None:
        _say(f"suites: {', '.join(suite.name for suite in load_suites(Path(step.config)))}")
    with tempfile.TemporaryDirectory() as folder:
        settings = write_settings(step, Path(folder))
        for command in commands_of(step, curriculum, models, nodes, settings, dry_run=True):
            if not step.trains:
                _say(shlex.join(command.arguments))
                continue
            others.start(command)
            code = subprocess.run(command.arguments, env=command.environment, cwd=REPOSITORY).returncode
            if code:
                raise error_of(code, f"{step.name}: cannot be planned; the line above says why")
            others.join(code)


def _model(name: str, step: Step, curriculum: Curriculum) -> str:
    if name == BASE:
        return curriculum.model
    if read_done(curriculum.step(name), curriculum).state == FINISHED:
        return starts_of(step, curriculum)[name]["place"]
    return curriculum.model if step.trains else str(curriculum.folder(name))


def _heading(curriculum: Curriculum, step: Step, how_far: Done) -> str:
    if how_far.state == FINISHED:
        return f"finished in {time_taken(how_far)}"
    if not step.start:
        return how_far.state
    waits = step.start != BASE and read_done(curriculum.step(step.start), curriculum).state != FINISHED
    planned = f"; planned with {curriculum.model} until that has run" if waits and step.trains else ""
    return f"{how_far.state}, from {step.start} ({step.checkpoint}){planned}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
