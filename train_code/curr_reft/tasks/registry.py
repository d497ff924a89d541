"""The tasks that rows may name: the three of the paper, and those of task files that a command is given."""

import argparse
import importlib.util
import traceback
from pathlib import Path
from types import ModuleType

from curr_reft.errors import InputError
from curr_reft.stages import Asking, Stage
from curr_reft.tasks import classification, detection, math
from curr_reft.tasks.task import Scoring, Task

_tasks = {task.name: task for task in (detection.TASK, classification.TASK, math.TASK)}
_files: set[Path] = set()


def known_tasks() -> dict[str, Task]:
    """All tasks by their names, those of the paper first."""
    return dict(_tasks)


def get_task(name: str) -> Task | None:
    """The task of a name or an alias, or `None`."""
    return next((task for task in _tasks.values() if name in (task.name, *task.aliases)), None)


def find_task(name: str) -> Task:
    """The task of a name or an alias.

    Raises:
        InputError: for a name that is none.
    """
    task = get_task(name)
    if task is not None:
        return task
    known = ", ".join(name for task in _tasks.values() for name in (task.name, *task.aliases))
    raise InputError(f"unknown task {name[:40]!r}; known are {known} (--tasks FILE.py adds others)")


def asking_of(stage: Stage, task: str | None) -> Asking:
    """How a stage asks about the rows of a task, or of none."""
    return stage.asking if task is None else find_task(task).asking(stage)


def task_title(name: str) -> str:
    """How tables name a task; a task that is not known here, as in scores of another day, by its own name."""
    task = get_task(name)
    return name if task is None else task.title


def scorings() -> dict[str, tuple[Task, Scoring]]:
    """All ways to score the rows of a suite, each with its task, by their names."""
    return {scoring.name: (task, scoring) for task in _tasks.values() for scoring in task.scorings}


def loaded_files() -> tuple[Path, ...]:
    """The task files that were loaded."""
    return tuple(sorted(_files))


def load_task_file(path: Path) -> None:
    """Add the tasks of a Python file that defines ``TASKS``, a `Task` or a list of them.

    Raises:
        InputError: when the file cannot be imported, defines no tasks, or one of a known name.
    """
    if path.resolve() in _files:
        return
    found = getattr(load_module(path, "--tasks"), "TASKS", None)
    tasks = [found] if isinstance(found, Task) else found
    if not isinstance(tasks, list | tuple) or not tasks or not all(isinstance(task, Task) for task in tasks):
        raise InputError(f"--tasks {path}: must define TASKS, a curr_reft.tasks.task.Task or a list of them")
    taken = {name for task in _tasks.values() for name in (task.name, *task.aliases)} | set(scorings())
    for task in tasks:
        names = {task.name, *task.aliases, *(scoring.name for scoring in task.scorings)}
        if again := sorted(names & taken):
            raise InputError(
                f"--tasks {path}: {again[0]!r} is the name of another task or scoring; choose one"
            )
        taken |= names
    _tasks.update({task.name: task for task in tasks})
    _files.add(path.resolve())


def load_module(path: Path, flag: str) -> ModuleType:
    """A Python file that a user names, imported.

    Raises:
        InputError: when there is none, or it raises; with the line of the file that did.
    """
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"{flag} {path}: no such Python file")
    spec = importlib.util.spec_from_file_location(path.stem, path.absolute())
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's code raises is about their file
        raise InputError(f"{flag} {fault_in(path, error)}") from error
    return module


def fault_in(path: Path, error: BaseException) -> str:
    """What a user's file raised, as ``FILE:LINE: what``."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    return f"{path}{f':{line}' if line else ''}: {type(error).__name__}: {error}"


def add_tasks_flag(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The flag that adds tasks; its files are loaded as the command line is parsed."""
    parser.add_argument(
        "--tasks",
        type=_task_file,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE.py",
        help="tasks of your own (see train_code/README.md)",
    )


def _task_file(text: str) -> Path:
    load_task_file(Path(text))
    return Path(text)
