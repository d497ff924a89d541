"""Finding what can be reported on in folders, and naming it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from curr_reft.errors import InputError
from curr_reft.evaluation.general import FILE_NAME as BENCHMARKS
from curr_reft.evaluation.report.documents import (
    Benchmarks,
    Evaluation,
    PassAtK,
    TrainingRun,
    read_benchmarks,
    read_evaluation,
    read_pass_at_k,
    read_training_run,
)
from curr_reft.evaluation.scores_file import FILE_NAME as SCORES
from curr_reft.files.manifest import checkpoint_step

Found = TypeVar("Found")

STATE = "trainer_state.json"
PASS_AT_K = "_pass_at_k.json"


@dataclass(frozen=True)
class Findings:
    """All that was found: in the order of the folders given, within one by path."""

    evaluations: list[Evaluation]
    training: list[TrainingRun]
    pass_at_k: list[PassAtK]
    benchmarks: list[Benchmarks]


@dataclass(frozen=True)
class Run:
    """A folder to report on, and the name it was given."""

    folder: Path
    name: str | None

    @classmethod
    def parse(cls, argument: str) -> "Run":
        """The run of an argument ``FOLDER`` or ``NAME=FOLDER``; a folder that is there may hold a ``=``.

        Raises:
            InputError: when there is no such folder.
        """
        name, separator, folder = argument.partition("=")
        if not separator or Path(argument).is_dir():
            name, folder = "", argument
        if not Path(folder).is_dir():
            raise InputError(f"{argument}: no such folder (expected FOLDER or NAME=FOLDER)")
        return cls(Path(folder), name or None)

    def name_of(self, place: Path) -> str:
        """The name of what lies at a place below the folder: its relative path, after the run's own name."""
        relative = os.path.relpath(place, self.folder)
        if relative == ".":
            return self.name or self.folder.resolve().name
        return f"{self.name}/{relative}" if self.name else relative


def collect(runs: Sequence[Run]) -> Findings:
    """Read everything that lies in the folders or below them; what two of them hold is reported once.

    Raises:
        InputError: for a folder with nothing to report, and for a file that is broken or another program's.
    """
    places: dict[str, list[tuple[Run, Path, Path]]] = {SCORES: [], STATE: [], PASS_AT_K: [], BENCHMARKS: []}
    seen: set[Path] = set()
    for run in runs:
        found = list(_reported_files(run.folder))
        if not found:
            raise InputError(
                f"{run.folder}: holds nothing to report: no {SCORES} (run eval/evaluate.py), no {STATE}, no"
                f" *{PASS_AT_K}, no {BENCHMARKS}"
            )
        for kind, place, path in found:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                places[kind].append((run, place, path))
    return Findings(
        evaluations=_read(places[SCORES], lambda name, place, path: read_evaluation(name, path)),
        training=_read(places[STATE], lambda name, place, path: read_training_run(name, path, place)),
        pass_at_k=_read(places[PASS_AT_K], lambda name, place, path: read_pass_at_k(name, path)),
        benchmarks=_read(places[BENCHMARKS], lambda name, place, path: read_benchmarks(name, path)),
    )


def _reported_files(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Kind, place to name it after, and path of each file to report, by path.

    A run that trained on has a state in each checkpoint: its own counts, else that of the last one.
    """
    states: dict[Path, Path] = {}
    for directory, folders, files in os.walk(folder):
        # Also the order in which they are walked.
        folders[:] = sorted((name for name in folders if ".set-aside" not in name), key=_natural)
        place = Path(directory)
        for file in sorted(files, key=_natural):
            if file in (SCORES, BENCHMARKS):
                yield file, place, place / file
            elif file.endswith(PASS_AT_K) and not file.startswith("."):
                yield PASS_AT_K, place / file.removesuffix(PASS_AT_K), place / file
            elif file == STATE:
                run = place if checkpoint_step(place) is None else place.parent
                # A run's own comes before those of its checkpoints, which come in order.
                if states.get(run) != run / STATE:
                    states[run] = place / file
    for run, path in sorted(states.items(), key=lambda item: _natural(str(item[0]))):
        yield STATE, run, path


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key under which checkpoint-100 comes before checkpoint-1000, after checkpoint-20."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _read(places: Sequence[tuple[Run, Path, Path]], read: Callable[[str, Path, Path], Found]) -> list[Found]:
    """Read files under distinct names: equal ones get their folder's path, then a number."""
    names = [run.name_of(place) for run, place, _ in places]
    counts = Counter(names)
    names = [
        str(place) if counts[name] > 1 and run.name is None else name
        for name, (run, place, _) in zip(names, places, strict=True)
    ]
    taken: Counter[str] = Counter()
    found = []
    for name, (_, place, path) in zip(names, places, strict=True):
        taken[name] += 1
        found.append(read(name if taken[name] == 1 else f"{name} ({taken[name]})", place, path))
    return found
