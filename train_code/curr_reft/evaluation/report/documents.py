"""The files a report is made of, read and checked: scores, training logs, pass@k, general benchmarks.

Numbers are finite or `None`: JSON's ``NaN``, which a diverged training run logs, reads as no value.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.manifest import read_manifest
from curr_reft.stages import STAGES

Record = dict[str, Any]

_REQUIRED = object()
# A suite names the file of its rows.
_SUITE_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class SuiteScore:
    """An evaluation's scores on one suite. Shares lie between 0 and 1; `None` stands for what is not told."""

    suite: str
    task: str
    domain: str
    n: int
    accuracy: float
    low: float
    high: float
    tolerant: float | None
    released: float | None
    overlap: float | None
    unparsed: float | None
    truncated: float | None
    format: float | None
    incidents: dict[str, int]
    json_path: str | None
    sha256: str | None
    settings: Record


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint's scores, by suite."""

    name: str
    directory: Path
    model: str | None
    step: int | None
    architecture: Record
    data_root: Path | None
    scores: dict[str, SuiteScore]
    record: Record
    """The whole file."""


@dataclass(frozen=True)
class TrainingRun:
    """One stage's training: its log, an entry per logged step, and its manifest where there is one."""

    name: str
    directory: Path
    log: list[Record]
    manifest: Record

    @property
    def stage(self) -> str | None:
        """The stage trained, `None` where no manifest tells."""
        return self.manifest.get("stage")

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """The steps at which `key` was logged, and its values there."""
        points = [(entry["step"], entry[key]) for entry in self.log if is_number(entry.get(key))]
        return [step for step, _ in points], [value for _, value in points]


@dataclass(frozen=True)
class PassAtK:
    """pass@k of one model on one form of the questions."""

    name: str
    model: str
    task_type: str
    points: list[Record]
    """Each has `k`, `pass_at_k`, `low` and `high`; a k that too few samples were judged for has none."""
    record: Record


@dataclass(frozen=True)
class Benchmarks:
    """Results of general benchmarks that another harness measured, on its scales."""

    name: str
    model: str
    harness: str | None
    results: dict[str, float]
    notes: tuple[str, ...]
    """In what they differ from the paper's."""


def is_number(value: Any) -> bool:
    """Whether this is a finite number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_document(path: Path) -> Record:
    """A JSON object from a file.

    Raises:
        InputError: when the file cannot be read, or holds something else.
    """
    return read_object(path, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _field(record: Record, key: str, kind: Any, where: str, default: Any = _REQUIRED) -> Any:
    value = record.get(key)
    if value is None:
        if default is _REQUIRED:
            raise InputError(f"{where}: holds no {key}")
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(
            f"{where}: {key}: found {type(value).__name__}, which eval/evaluate.py does not write"
        )
    return value


def _share(record: Record, key: str, where: str, default: Any = _REQUIRED) -> float | None:
    value = _field(record, key, int | float, where, default)
    if value is not None and not 0 <= value <= 1:
        raise InputError(f"{where}: {key}: expected a share between 0 and 1, found {value}")
    return value


def read_evaluation(name: str, path: Path) -> Evaluation:
    """The evaluation that a ``scores.json`` records.

    Raises:
        InputError: when the file is not one.
    """
    record, where = read_document(path), str(path)
    scores = _field(record, "scores", dict, where)
    if not scores:
        raise InputError(f"{where}: holds scores of no suite")
    data_root = _field(record, "data_root", str, where, None)
    return Evaluation(
        name=name,
        directory=path.parent,
        model=_field(record, "model", str, where, None),
        step=_field(record, "step", int, where, None),
        architecture=_field(record, "architecture", dict, where, {}),
        data_root=Path(data_root) if data_root else None,
        scores={suite: _suite_score(suite, score, where) for suite, score in scores.items()},
        record=record,
    )


def _suite_score(suite: str, score: Any, where: str) -> SuiteScore:
    where = f"{where}: {suite}"
    if not _SUITE_NAME.fullmatch(suite) or not isinstance(score, dict):
        raise InputError(f"{where}: no scores of a suite, such as eval/evaluate.py writes")
    task, domain = _field(score, "task", str, where), _field(score, "domain", str, where)
    if not isinstance(task, str) or domain not in ("in", "out"):
        raise InputError(f"{where}: unknown task {task!r} or domain {domain!r}")
    n = _field(score, "n", int, where)
    if n < 1:
        raise InputError(f"{where}: n: expected at least one row, found {n}")
    incidents = _field(score, "incidents", dict, where, {})
    if not all(is_number(count) for count in incidents.values()):
        raise InputError(f"{where}: incidents: expected counts")
    return SuiteScore(
        suite=suite,
        task=task,
        domain=domain,
        n=n,
        **{key: _share(score, key, where) for key in ("accuracy", "low", "high")},
        **{
            key: _share(score, key, where, None)
            for key in ("tolerant", "released", "overlap", "unparsed", "truncated", "format")
        },
        incidents=incidents,
        json_path=_field(score, "json_path", str, where, None),
        sha256=_field(score, "sha256", str, where, None),
        settings=_field(score, "settings", dict, where, {}),
    )


def read_training_run(name: str, path: Path, directory: Path) -> TrainingRun:
    """The run of a folder from its ``trainer_state.json``, which may lie in a checkpoint of it.

    Raises:
        InputError: when state or manifest are none.
    """
    log = _field(read_document(path), "log_history", list, str(path))
    for entry in log:
        if not isinstance(entry, dict) or not is_number(entry.get("step")):
            raise InputError(f"{path}: log_history: an entry without a step; not a trainer's state")
    manifest = read_document(directory / "manifest.json") if read_manifest(directory) else {}
    _field(manifest, "stage", str, f"{directory / 'manifest.json'}", None)
    _field(manifest, "config", dict, f"{directory / 'manifest.json'}", None)
    return TrainingRun(name, directory, log, manifest)


def read_pass_at_k(name: str, path: Path) -> PassAtK:
    """The result of a ``…_pass_at_k.json``.

    Raises:
        InputError: when the file is not one.
    """
    record, where = read_document(path), str(path)
    points = _field(record, "k", list, where)
    if not points or not all(isinstance(point, dict) and is_number(point.get("k")) for point in points):
        raise InputError(f"{where}: k: expected a list of objects with k and pass_at_k")
    measured = [point for point in points if point.get("pass_at_k") is not None]
    for point in measured:
        for key in ("pass_at_k", "low", "high"):
            _share(point, key, where)
    for key, kind in (("problems", int), ("num_samples", int), ("judge", str)):
        _field(record, key, kind, where)
    model, task_type = _field(record, "model", str, where), _field(record, "task_type", str, where)
    if task_type not in STAGES:
        raise InputError(f"{where}: task_type: expected one of {', '.join(STAGES)}, found {task_type!r}")
    return PassAtK(name, model, task_type, sorted(measured, key=lambda point: point["k"]), record)


def read_benchmarks(name: str, path: Path) -> Benchmarks:
    """The results of a ``general_benchmarks.json``.

    Raises:
        InputError: when the file is not one.
    """
    record, where = read_document(path), str(path)
    results = _field(record, "results", dict, where)
    if not all(is_number(value) for value in results.values()):
        raise InputError(f"{where}: results: expected numbers")
    model, harness = _field(record, "model", str, where), _field(record, "harness", str, where, None)
    notes = _field(record, "paper_differs", list, where, [])
    return Benchmarks(name, model, harness, results, tuple(map(str, notes)))
