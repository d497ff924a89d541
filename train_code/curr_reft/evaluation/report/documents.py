"""The files a report is made of, read and checked: scores, training logs, pass@k, general benchmarks.

`None` stands for what is not told, as does JSON's ``NaN``, which a diverged training run logs.
"""

import math
import reprlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    InstanceOf,
    StringConstraints,
    ValidationError,
    model_validator,
)

from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.manifest import FILE_NAME as MANIFEST
from curr_reft.stages import STAGES

Record = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1)]
# Beyond, neither a chart nor a spreadsheet holds whole numbers.
_LARGEST_COUNT = 2**53
Count = Annotated[int, Field(ge=0, le=_LARGEST_COUNT)]
# Names may hold half a surrogate pair, which pydantic's own strings refuse.
Text = InstanceOf[str]
# A suite names the file of its rows.
SuiteName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]


def is_number(value: Any) -> bool:
    """Whether this is a number that a float can hold; a boolean is none."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -sys.float_info.max <= value <= sys.float_info.max
    )


def _with_step(entry: Record) -> Record:
    if not is_number(step := entry.get("step")) or not 0 <= step <= _LARGEST_COUNT:
        raise ValueError("expected the number of a step")
    return entry


class Document(BaseModel):
    """What a file or a part of one holds; fields that are not named here may stand there too."""

    model_config = ConfigDict(strict=True, frozen=True, validate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _told(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {key: value for key, value in fields.items() if value is not None}


class SuiteScore(Document):
    """An evaluation's scores on one suite."""

    suite: str
    task: SuiteName
    domain: Literal["in", "out"]
    n: Annotated[Count, Field(ge=1)]
    accuracy: Share
    low: Share
    high: Share
    tolerant: Share | None = None
    released: Share | None = None
    overlap: Share | None = None
    unparsed: Share | None = None
    truncated: Share | None = None
    format: Share | None = None
    incidents: dict[Text, Count] = {}
    json_path: Text | None = None
    sha256: Text | None = None
    rows_sha256: Text | None = None
    settings: Record = {}


class Evaluation(Document):
    """One checkpoint's scores, by suite."""

    name: Text
    directory: Path
    model: Text | None = None
    step: Count | None = None
    architecture: Record = {}
    data_root: Text | None = None
    scores: Annotated[dict[SuiteName, SuiteScore], Field(min_length=1)]
    record: Record
    """The whole file."""

    @model_validator(mode="before")
    @classmethod
    def _name_suites(cls, fields: Any) -> Any:
        if not isinstance(scores := fields.get("scores"), dict):
            return fields
        named = {
            suite: {**score, "suite": suite} if isinstance(score, dict) else score
            for suite, score in scores.items()
        }
        return {**fields, "scores": named}


class Manifest(Document):
    """What a run's manifest says of it."""

    status: Text
    stage: Text | None = None
    config: Record = {}


class TrainingRun(Document):
    """One stage's training: its log, and its manifest where there is one."""

    name: Text
    log: list[Annotated[Record, AfterValidator(_with_step)]] = Field(alias="log_history")
    manifest: Manifest | None = None

    @property
    def stage(self) -> str | None:
        """The stage trained, `None` where no manifest tells."""
        return self.manifest.stage if self.manifest else None

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """The steps at which `key` was logged, and its values there."""
        points = [(entry["step"], entry[key]) for entry in self.log if is_number(entry.get(key))]
        return [step for step, _ in points], [value for _, value in points]


class Point(Document):
    """pass@k at one k, its interval, and of how many problems."""

    k: Annotated[Count, Field(ge=1)]
    pass_at_k: Share
    low: Share
    high: Share
    problems: Count | None = None


class PassAtK(Document):
    """pass@k of one model on one form of the questions."""

    name: Text
    model: Text
    task_type: Literal[tuple(STAGES)]
    points: list[Point] = Field(alias="k")
    """By k, without those that too few samples were judged for."""
    problems: Count
    num_samples: Count
    unjudged: Count | None = None
    judge: Text
    record: Record
    """The whole file."""

    @model_validator(mode="before")
    @classmethod
    def _measured(cls, fields: Any) -> Any:
        if not isinstance(points := fields.get("k"), list):
            return fields
        gaps = [isinstance(point, dict) and point.get("pass_at_k") is None for point in points]
        return {**fields, "k": [point for point, gap in zip(points, gaps, strict=True) if not gap]}


class Benchmarks(Document):
    """Results of general benchmarks that another harness measured, on its scales."""

    name: Text
    model: Text
    harness: Text | None = None
    results: dict[Text, FiniteFloat]
    notes: list[Text] = Field([], alias="paper_differs")
    """In what they differ from the paper's."""


Kind = TypeVar("Kind", bound=Document)


def read_evaluation(name: str, path: Path) -> Evaluation:
    """The evaluation that a ``scores.json`` records.

    Raises:
        InputError: when the file is not one.
    """
    record = _read_json(path)
    return _check(Evaluation, path, {**record, "name": name, "directory": path.parent, "record": record})


def read_training_run(name: str, path: Path, directory: Path) -> TrainingRun:
    """The run of a folder from its ``trainer_state.json``, which may lie in a checkpoint of it.

    Raises:
        InputError: when state or manifest are none.
    """
    place = directory / MANIFEST
    manifest = _check(Manifest, place, _read_json(place)) if place.exists() else None
    return _check(TrainingRun, path, {**_read_json(path), "name": name, "manifest": manifest})


def read_pass_at_k(name: str, path: Path) -> PassAtK:
    """The result of a ``…_pass_at_k.json``.

    Raises:
        InputError: when the file is not one.
    """
    record = _read_json(path)
    found = _check(PassAtK, path, {**record, "name": name, "record": record})
    found.points.sort(key=lambda point: point.k)
    return found


def read_benchmarks(name: str, path: Path) -> Benchmarks:
    """The results of a ``general_benchmarks.json``.

    Raises:
        InputError: when the file is not one.
    """
    return _check(Benchmarks, path, {**_read_json(path), "name": name})


def _read_json(path: Path) -> Record:
    def finite(text: str) -> float | None:
        return number if math.isfinite(number := float(text)) else None

    return read_object(path, parse_constant=lambda _: None, parse_float=finite)


def _check(kind: type[Kind], path: Path, fields: Record) -> Kind:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ": ".join(map(str, fault["loc"]))
        found = "" if fault["type"] == "missing" else f", found {reprlib.repr(fault['input'])}"
        raise InputError(f"{path}: {field}: {fault['msg']}{found}") from error
