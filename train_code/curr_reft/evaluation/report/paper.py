"""The paper's rows, and which of them belong beside ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from curr_reft.evaluation.report.documents import Benchmarks, Evaluation, SuiteScore
from curr_reft.files.yaml import read_mapping

_FILE = Path(__file__).with_name("paper.yaml")

CAVEAT = (
    "The paper prints no intervals. The evaluator it released is the one whose verdicts stand last in"
    " parentheses beside our strict accuracies, so compare with those. Its tables contradict each other:"
    " for the 3B base model Tables 1 and 3 give 40.8 for out-of-domain math and 61.8 for in-domain"
    " detection, Table 4(a) 17.8 and 31.8; for Curr-ReFT-3B Table 3 gives 71.5 for in-domain"
    " classification, Table 4(a) 65.4. So every row names its table."
)


@dataclass(frozen=True)
class Column:
    """A column of the paper's tables of visual tasks, and the released test file it is measured on."""

    task: str
    domain: str
    file: str

    def score(self, evaluation: Evaluation) -> SuiteScore | None:
        """An evaluation's score in this column, whatever its suite is called."""
        scores = evaluation.scores.values()
        return next(
            (score for score in scores if (score.task, score.domain) == (self.task, self.domain)), None
        )


@dataclass(frozen=True)
class PaperRow:
    """One row of a table of the paper, by column; visual tasks in percent."""

    table: str
    row: str
    values: tuple[float, ...]
    backbone: str | None = None


@cache
def columns() -> tuple[Column, ...]:
    """The columns of the visual tasks."""
    return tuple(Column(**column) for column in _document()["visual_tasks"]["columns"])


@cache
def visual_rows() -> tuple[PaperRow, ...]:
    """The rows of Tables 1 and 3, with values as in `columns`."""
    return _rows("visual_tasks")


@cache
def benchmark_rows() -> tuple[PaperRow, ...]:
    """The rows of Table 4, with values as in `benchmark_names`."""
    return _rows("general_benchmarks")


@cache
def benchmark_names() -> tuple[str, ...]:
    """The general benchmarks of Table 4."""
    return tuple(_document()["general_benchmarks"]["columns"])


def backbone_of(architecture: Mapping[str, Any]) -> str | None:
    """The paper's name of a model with this architecture, `None` for one that the paper does not train."""
    for name, marks in _document()["backbones"].items():
        if all(architecture.get(key) == value for key, value in marks.items()):
            return name
    return None


@cache
def _document() -> dict[str, Any]:
    return read_mapping(_FILE)


def _rows(section: str) -> tuple[PaperRow, ...]:
    return tuple(PaperRow(**{**row, "values": tuple(row["values"])}) for row in _document()[section]["rows"])


def by_backbone(evaluations: Iterable[Evaluation]) -> dict[str, list[Evaluation]]:
    """The evaluations of models that the paper trains, by the paper's name of the model."""
    found: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        if backbone := backbone_of(evaluation.architecture):
            found.setdefault(backbone, []).append(evaluation)
    return found


def remarks(evaluations: Iterable[Evaluation]) -> list[str]:
    """Why some evaluations have no rows of the paper beside them, and which were asked other test files."""
    found: dict[str, list[str]] = {}
    for evaluation in evaluations:
        if remark := _remark(evaluation):
            found.setdefault(remark, []).append(evaluation.name)
    return [f"{', '.join(names)}: {remark}." for remark, names in found.items()]


def _remark(evaluation: Evaluation) -> str | None:
    if not evaluation.architecture:
        return "no rows of the paper, since scores.json tells no architecture"
    if backbone_of(evaluation.architecture) is None:
        names = " and ".join(_document()["backbones"])
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in evaluation.architecture.items())
        return f"no rows of the paper, which trains {names} and not this model ({told})"
    others = []
    for column in columns():
        score = column.score(evaluation)
        if score and score.json_path and Path(score.json_path).name != column.file:
            others.append(f"{score.suite} from {score.json_path}, not {column.file}")
    return (
        f"not the released test files, so another test than the paper's ({'; '.join(others)})"
        if others
        else None
    )


def rows_beside(benchmarks: Iterable[Benchmarks], evaluations: Iterable[Evaluation]) -> list[PaperRow]:
    """The rows of Table 4 for the models of these results.

    An evaluation of the same model tells its architecture; where there is none, rows of both sizes belong.
    """
    known = {
        evaluation.model: evaluation.architecture for evaluation in evaluations if evaluation.architecture
    }
    every = {row.backbone for row in benchmark_rows()}
    shown: set[str | None] = set()
    for entry in benchmarks:
        shown |= {backbone_of(known[entry.model])} if entry.model in known else every
    return [row for row in benchmark_rows() if row.backbone in shown]
