"""What can be found wrong with a curriculum before its first step starts."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from curr_reft.curriculum.checkpoint_choice import metric_of
from curr_reft.curriculum.commands import SETTINGS, commands_of
from curr_reft.curriculum.document import Settings, located
from curr_reft.curriculum.nodes import Nodes
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
from curr_reft.evaluation.flags import parse_evaluation
from curr_reft.files.yaml import read_mapping
from curr_reft.models.checkpoints import find_checkpoints
from curr_reft.models.processor import is_hub_id
from curr_reft.self_improvement.candidates import parse_candidates
from curr_reft.self_improvement.judge import parse_judge
from curr_reft.self_improvement.sources import load_composition
from curr_reft.sft.swift import find_swift
from curr_reft.training.arguments import check_settings, found_file

_PARSERS = {
    "eval/evaluate.py": partial(parse_evaluation, ""),
    "curr_reft.self_improvement.candidates": parse_candidates,
    "curr_reft.self_improvement.judge": parse_judge,
}


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
        if read_done(step, curriculum).state == FINISHED:
            continue
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
            _check_judge(step)
            load_composition(Path(str(step.config)))
        elif step.run == EVALUATION and step.config is not None:
            load_suites(Path(step.config))
        _check_flags(step, curriculum)
        _check_starts(step, curriculum, steps)


def _check_flags(step: Step, curriculum: Curriculum) -> None:
    """Let the commands that sample and judge parse their flags."""
    models = dict.fromkeys((step.start, *step.of), curriculum.model)
    for command in commands_of(step, curriculum, models, Nodes(), Path(SETTINGS)):
        for name, parse in _PARSERS.items():
            if name in command.arguments:
                try:
                    parse(command.arguments[command.arguments.index(name) + 1 :])
                except InputError as error:
                    raise InputError(f"{step.name}: {error}") from error


def _check_judge(step: Step) -> None:
    if step.judge["judge"] == "llm" and not {"judge_url", "judge_model"} <= step.judge.keys():
        raise InputError(
            f"{step.name}: a judge model needs JUDGE_URL and JUDGE_MODEL, or judge: {{judge_url: …,"
            " judge_model: …}; judge: {judge: rule} needs no server, and --until STEP ends before it"
        )


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
    needed = [name for name in (step.start, step.data) if name]
    needed += step.of if step.run in (EVALUATION, REPORT) else []
    for name in needed:
        if name == BASE:
            if step.start and step.checkpoint != "last":
                raise InputError(f"{step.name}: checkpoint: {step.checkpoint}: the base has one, the last")
            continue
        before = curriculum.step(name)
        finished = read_done(before, curriculum).state == FINISHED
        if before not in steps and not finished:
            raise InputError(f"{step.name}: needs {name}, which is not finished; leave out --from")
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
        _check_number(where, int(step.checkpoint), settings)


def _check_number(where: str, number: int, settings: Settings) -> None:
    last = float(settings.get("max_steps", -1))
    if 0 < last < number:
        raise InputError(f"{where}: the step before ends at {last:g} (max_steps)")
    if settings.get("save_strategy", "steps") != "steps" or settings.get("save_total_limit") is not None:
        raise InputError(f"{where}: needs all checkpoints there (save_strategy, save_total_limit)")
    every = float(settings.get("save_steps", 100))
    if every > 1 and number % every:
        raise InputError(f"{where}: the step before saves at multiples of {every:g} (save_steps)")
