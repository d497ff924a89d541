"""What can be found wrong with a curriculum before its first step starts."""

from collections.abc import Sequence
from pathlib import Path

from curr_reft.curriculum.checkpoint_choice import metric_of
from curr_reft.curriculum.commands import judge_of
from curr_reft.curriculum.document import Settings, located
from curr_reft.curriculum.records import FINISHED, read_done
from curr_reft.curriculum.steps import (
    BASE,
    EVALUATION,
    FINE_TUNING,
    REJECTION_SAMPLING,
    REPORT,
    Curriculum,
    Step,
)
from curr_reft.data.suites import load_suites
from curr_reft.errors import InputError
from curr_reft.files.yaml import read_mapping
from curr_reft.models.checkpoints import find_checkpoints
from curr_reft.models.processor import is_hub_id
from curr_reft.self_improvement.sources import load_composition
from curr_reft.sft.swift import find_swift
from curr_reft.training.arguments import check_settings, found_file


def check_curriculum(curriculum: Curriculum, steps: Sequence[Step]) -> None:
    """Check what no step needs to have run for.

    Args:
        steps: Those that will run; what they start from is either one of them or finished.

    Raises:
        InputError: for the first thing that is wrong, with the step's name.
    """
    if not Path(curriculum.model).is_dir() and not is_hub_id(curriculum.model):
        raise InputError(f"model: {curriculum.model}: no such directory, and no id of the hub")
    for step in steps:
        if step.stage is not None or step.run == EVALUATION:
            _check_folder(step, "data_root", curriculum.data_root)
        if step.stage is not None:
            check_settings(step.settings, step.name)
            read_mapping(Path(found_file(str(step.settings["dataset_name"]))), f"{step.name}: dataset_name")
        elif step.run in FINE_TUNING:
            find_swift()
            _check_data(step)
        elif step.run == REJECTION_SAMPLING:
            _check_folder(step, "query_root", curriculum.query_root)
            judge_of(step)
            load_composition(Path(str(step.config)))
        elif step.run == EVALUATION and step.config is not None:
            load_suites(Path(step.config))
        _check_starts(step, curriculum, steps)


def _check_folder(step: Step, key: str, folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{step.name}: {key}: {folder} is not a directory; see grpo_sft_data/README.md")


def _check_data(step: Step) -> None:
    if step.data is not None:
        return
    named = step.settings.get("dataset")
    for path in named if isinstance(named, list) else [named]:
        if path is None or not located(str(path).partition("#")[0]).is_file():
            raise InputError(f"{step.name}: dataset: {path}: no such file, and no step before it writes rows")


def _check_starts(step: Step, curriculum: Curriculum, steps: Sequence[Step]) -> None:
    needed = [step.start] if step.start else [step.data] if step.data else []
    needed += step.of if step.run in (EVALUATION, REPORT) else []
    for name in needed:
        if name == BASE:
            if step.start and step.checkpoint != "last":
                raise InputError(f"{step.name}: checkpoint: {step.checkpoint}: the base has one, the last")
            continue
        before = curriculum.step(name)
        finished = read_done(curriculum.output_dir, name, before.trains, at_work=False).state == FINISHED
        if before not in steps and not finished:
            raise InputError(f"{step.name}: starts from {name}, which is not finished; leave out --from")
        if finished and before.trains:
            _check_architecture(step, curriculum, curriculum.folder(name))
        if step.start == name:
            _check_choice(step, before)


def _check_architecture(step: Step, curriculum: Curriculum, folder: Path) -> None:
    if not Path(curriculum.model).is_dir():
        return
    base, started = (
        find_checkpoints(str(path), True, {})[0].architecture() for path in (curriculum.model, folder)
    )
    if base != started:
        raise InputError(
            f"{step.name}: {folder} is of another model: {_told(started)} instead of {_told(base)}"
        )


def _told(architecture: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in architecture.items())


def _check_choice(step: Step, before: Step) -> None:
    """Whether the step before will have the checkpoint that is asked for."""
    where = f"{step.name}: checkpoint: {step.checkpoint}"
    settings = before.settings
    if metric_of(step.checkpoint) is not None:
        if before.stage is None:
            raise InputError(f"{where}: of stages alone, which {before.name} is none of")
        if settings.get("eval_strategy", "no") in ("no", False):
            raise InputError(
                f"{where}: {before.name} is not validated; give it eval_strategy: steps, eval_steps"
            )
        mixture = Path(found_file(str(settings["dataset_name"])))
        if not read_mapping(mixture).get("val_datasets"):
            raise InputError(f"{where}: {mixture} lists no val_datasets")
    elif step.checkpoint.isdecimal():
        every = float(settings.get("save_steps", 100))
        if every > 1 and int(step.checkpoint) % every:
            raise InputError(f"{where}: {before.name} saves at multiples of {every:g} (save_steps)")
