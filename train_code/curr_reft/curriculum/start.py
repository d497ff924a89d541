"""The command that runs a curriculum, or plans it."""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from curr_reft.curriculum.checks import check_curriculum
from curr_reft.curriculum.following import follow
from curr_reft.curriculum.nodes import Nodes
from curr_reft.curriculum.plan import print_plans
from curr_reft.curriculum.program import refuse_changes, run_curriculum
from curr_reft.curriculum.steps import Curriculum, Step, load_curriculum
from curr_reft.errors import InputError
from curr_reft.files.cli import CommandParser
from curr_reft.training.stopping import stopped_by_signals

_PLACES = ("output_dir", "data_root", "query_root")


def start(argv: Sequence[str]) -> None:
    """Take the command line, and run or plan the steps that it asks for.

    Raises:
        InputError: for the first thing that is wrong, before anything is started.
        CommandError: when a step failed, or a signal came.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = CommandParser(
        prog="python -m curr_reft.curriculum",
        description="Run the steps of a curriculum; started again, it goes on where it stopped. Flags that"
        " are not listed here go to every stage.",
        epilog="python -m curr_reft.curriculum status DIR [--watch] tells how far one is.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "curriculum", type=Path, metavar="CURRICULUM.yaml", help="or the manifest.json of a curriculum"
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        dest="overlays",
        metavar="FILE.yaml",
        help="on top of the files of every stage, such as configs/qwen2_5_vl_3b/lora.yaml",
    )
    parser.add_argument("--model", help="the base, a folder or hub id")
    for name, help in zip(
        _PLACES, ("where everything is written", "rows and images", "queries"), strict=True
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=help)
    parser.add_argument("--processes", type=int, help="on each node (default: its GPUs, 1 without)")
    parser.add_argument("--seed", type=int, help="of all steps, over what their files say")
    parser.add_argument("--from", dest="first", metavar="STEP", help="begin with this step")
    parser.add_argument("--until", dest="last", metavar="STEP", help="end after this step")
    parser.add_argument("--dry_run", action="store_true", help="plan all steps, start none")
    parser.add_argument("--accept_changes", action="store_true", help="go on with other settings")
    arguments, others = parser.parse_known_args(argv)
    overrides = {name: getattr(arguments, name) for name in ("model", "processes", "seed", *_PLACES)}
    overrides = {
        name: os.path.abspath(value) if name in _PLACES else value
        for name, value in overrides.items()
        if value is not None
    }
    if arguments.model is not None:
        overrides["model"] = _from_here(arguments.model)
    with stopped_by_signals():
        nodes = Nodes.from_environment()
        curriculum = load_curriculum(
            arguments.curriculum,
            overrides,
            _stage_flags(others),
            [_from_here(file) for file in arguments.overlays],
        )
        processes = curriculum.processes or torch.cuda.device_count() or 1
        curriculum = replace(curriculum, processes=processes)
        steps = _between(curriculum, arguments.first, arguments.last)
        check_curriculum(curriculum, steps)
        if nodes.rank:
            follow(nodes)
        elif arguments.dry_run:
            if not arguments.accept_changes:
                refuse_changes(curriculum)
            print_plans(curriculum, steps, nodes)
        else:
            run_curriculum(curriculum, steps, nodes, arguments.accept_changes)


def _from_here(path: str) -> str:
    """A path as one relative to the working directory is meant, where it is there; else as it is."""
    return os.path.abspath(path) if Path(path).exists() else path


def _stage_flags(words: Sequence[str]) -> dict[str, object]:
    """Flags for every stage as a mapping: a bare one is true, one with several values a list."""
    values: dict[str, list[str]] = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            values[name] = [value] if equals else []
        elif name is None:
            raise InputError(f"{word}: no flag; one file is taken, CURRICULUM.yaml")
        else:
            values[name].append(word)
    return {name: given if len(given) > 1 else given[0] if given else True for name, given in values.items()}


def _between(curriculum: Curriculum, first: str | None, last: str | None) -> tuple[Step, ...]:
    """The steps from one to another, both named by flags.

    Raises:
        InputError: when there is no such step, or the one comes after the other.
    """
    names = [step.name for step in curriculum.steps]
    for flag, name in (("--from", first), ("--until", last)):
        if name is not None and name not in names:
            raise InputError(f"{flag} {name}: no such step: {', '.join(names)}")
    begin = 0 if first is None else names.index(first)
    end = len(names) if last is None else names.index(last) + 1
    if begin >= end:
        raise InputError(f"--from {first} --until {last}: the first comes after the last")
    return curriculum.steps[begin:end]
