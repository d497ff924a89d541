"""What was evaluated, with what: models, data, settings, versions."""

from collections.abc import Iterable, Sequence
from typing import Any

from curr_reft.evaluation.report.documents import Evaluation
from curr_reft.files.tables import Table

_SHOWN_OF_DIGEST = 10


def model_table(evaluations: Iterable[Evaluation]) -> Table:
    """The models behind the names."""
    rows = []
    for evaluation in evaluations:
        record = evaluation.record
        architecture = ", ".join(f"{key} {value}" for key, value in evaluation.architecture.items())
        told = [evaluation.model, evaluation.step, architecture, _short(record.get("model_digest"))]
        told += [record.get("training_run"), record.get("backend")]
        rows.append([evaluation.name, *("" if value is None else str(value) for value in told)])
    header = ["name", "model", "step", "architecture", "digest", "training run", "backend"]
    return _without_empty(Table("Models", header, rows, names=len(header)))


def data_table(evaluations: Sequence[Evaluation]) -> Table:
    """The files that suites were asked from; a suite of several digests has a line for each."""
    asked: dict[tuple[str, ...], list[str]] = {}
    for evaluation in evaluations:
        for score in evaluation.scores.values():
            file, digest = score.json_path or "", _short(score.sha256)
            key = (score.suite, score.task, score.domain, str(score.n), file, digest)
            asked.setdefault(key, []).append(evaluation.name)
    rows = [
        [*key, "all" if len(names) == len(evaluations) else ", ".join(names)] for key, names in asked.items()
    ]
    header = ["suite", "task", "domain", "rows", "file", "sha256", "asked of"]
    return _without_empty(Table("Data", header, sorted(rows), names=len(header)))


def differing_data(evaluations: Iterable[Evaluation]) -> list[str]:
    """Suites whose rows were not the same for all who were asked them."""
    asked: dict[str, set[tuple[str | None, int, str | None]]] = {}
    for evaluation in evaluations:
        for score in evaluation.scores.values():
            asked.setdefault(score.suite, set()).add((score.sha256, score.n, score.rows_sha256))
    return [suite for suite, found in asked.items() if len(found) > 1]


def settings_table(evaluations: Sequence[Evaluation]) -> Table:
    """Settings and versions: one value where all agree, else each with who had it."""
    told: dict[str, dict[str, list[str]]] = {}
    for evaluation in evaluations:
        record = evaluation.record
        packages = record.get("packages") if isinstance(record.get("packages"), dict) else {}
        versions = {"git revision": record.get("git_revision"), "python": record.get("python"), **packages}
        for score in evaluation.scores.values():
            for key, value in score.settings.items():
                _tell(told, key, value, f"{evaluation.name} {score.suite}")
        for key, value in versions.items():
            _tell(told, key, value, evaluation.name)
    rows = []
    for key, values in told.items():
        if len(values) == 1:
            rows.append([key, next(iter(values))])
        else:
            rows.append([key, "; ".join(f"{value} ({', '.join(names)})" for value, names in values.items())])
    return Table("Settings and versions", ["name", "value"], rows, names=2)


def _tell(told: dict[str, dict[str, list[str]]], key: str, value: Any, who: str) -> None:
    if value is not None:
        told.setdefault(key, {}).setdefault(str(value), []).append(who)


def _short(digest: Any) -> str:
    return str(digest)[:_SHOWN_OF_DIGEST] if digest else ""


def _without_empty(table: Table) -> Table:
    """The table without columns of which nothing is told."""
    kept = [index for index in range(len(table.columns)) if any(row[index] for row in table.rows)]
    rows = [[row[index] for index in kept] for row in table.rows]
    return Table(table.title, [table.columns[index] for index in kept], rows, names=len(kept))
