"""The report's numbers as a workbook: a sheet of each kind, numbers as numbers, text as text."""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import Cell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from curr_reft.evaluation.compare import Comparison
from curr_reft.evaluation.report import paper
from curr_reft.evaluation.report.documents import is_number
from curr_reft.evaluation.report.record import Report
from curr_reft.files.text import visible

_PERCENT = "0.0%"
_LONGEST_TEXT = 32_767
"""Characters that a cell takes."""
_WIDTHS = (8, 48)
_SCORE_COLUMNS = (
    *("name", "source", "model", "step", "suite", "task", "domain", "n"),
    *("strict", "low", "high", "tolerant", "released", "overlap", "format", "unparsed", "truncated"),
    *("incidents", "json_path", "sha256"),
)
_SHARES = {
    *(
        "strict",
        "low",
        "high",
        "tolerant",
        "released",
        "overlap",
        "format",
        "unparsed",
        "truncated",
        "pass_at_k",
    ),
    *("accuracy_a", "accuracy_b", "difference", "frac_reward_zero_std"),
}
_COMPARED = ("n", "accuracy_a", "accuracy_b", "difference", "low", "high", "only_a", "only_b", "p_value")
_CHANGE = ("a", "b", "difference", "low", "high")
_SPLIT = (
    *(f"tolerant_{field}" for field in _CHANGE),
    *(f"format_{field}" for field in _CHANGE[2:]),
    *(f"released_{field}" for field in _CHANGE),
)
_LOGGED_FIRST = (
    *("step", "reward", "reward_std", "accuracy/detection", "accuracy/classify", "accuracy/math"),
    *("kl", "frac_reward_zero_std", "completions/mean_length"),
)


def to_workbook(report: Report) -> bytes:
    """The workbook's bytes. The sheets are `scores`, `pass_at_k`, `training`, `comparisons`, `general`."""
    book = Workbook()
    book.remove(book.active)
    _write(book.create_sheet("scores"), _SCORE_COLUMNS, _scores(report))
    points = ["name", "model", "questions", "k", "pass_at_k", "low", "high", "problems", "samples", "judge"]
    _write(book.create_sheet("pass_at_k"), points, _pass_at_k(report))
    logged = {key: None for run in report.findings.training for entry in run.log for key in entry}
    columns = ["name", "stage", *_LOGGED_FIRST, *(key for key in logged if key not in _LOGGED_FIRST)]
    _write(book.create_sheet("training"), columns, _training(report, columns))
    _write(book.create_sheet("comparisons"), ["a", "b", "suite", *_COMPARED, *_SPLIT], _comparisons(report))
    _write(book.create_sheet("general"), ["name", "source", "model", "benchmark", "value"], _general(report))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _scores(report: Report) -> Iterator[Sequence[Any]]:
    for evaluation in report.findings.evaluations:
        for score in evaluation.scores.values():
            incidents = ", ".join(f"{incident}: {count}" for incident, count in score.incidents.items())
            yield (
                *(evaluation.name, "ours", evaluation.model, evaluation.step),
                *(score.suite, score.task, score.domain, score.n),
                *(
                    score.accuracy,
                    score.low,
                    score.high,
                    score.tolerant,
                    score.released,
                    score.overlap,
                    score.format,
                ),
                *(score.unparsed, score.truncated, incidents, score.json_path, score.sha256),
            )
    backbones = paper.by_backbone(report.findings.evaluations)
    for row in paper.visual_rows():
        if row.backbone in backbones:
            for column, value in zip(paper.columns(), row.values, strict=True):
                place = ("", column.task, column.domain, None)
                yield (row.row, f"paper, {row.table}", row.backbone, None, *place, value / 100)


def _pass_at_k(report: Report) -> Iterator[Sequence[Any]]:
    for result in report.findings.pass_at_k:
        for point in result.points:
            values = [point.get(key) for key in ("k", "pass_at_k", "low", "high", "problems")]
            told = [result.record.get(key) for key in ("num_samples", "judge")]
            yield result.name, result.model, result.task_type, *values, *told


def _training(report: Report, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    for run in report.findings.training:
        for entry in run.log:
            yield run.name, run.stage, *(entry.get(key) for key in columns[2:])


def _comparisons(report: Report) -> Iterator[Sequence[Any]]:
    for pair in report.pairs:
        for suite, found in pair.suites.items():
            yield pair.a, pair.b, suite, *(getattr(found, key) for key in _COMPARED), *_split(found)


def _split(found: Comparison) -> Iterator[float | None]:
    for change, fields in ((found.tolerant, _CHANGE), (found.format, _CHANGE[2:]), (found.released, _CHANGE)):
        yield from (None if change is None else getattr(change, field) for field in fields)


def _general(report: Report) -> Iterator[Sequence[Any]]:
    findings = report.findings
    for entry in findings.benchmarks:
        for name, value in entry.results.items():
            yield entry.name, "ours", entry.model, name, value
    for row in paper.rows_beside(findings.benchmarks, findings.evaluations):
        for name, value in zip(paper.benchmark_names(), row.values, strict=True):
            yield row.row, f"paper, {row.table}", row.backbone, name, value


def _write(sheet: Worksheet, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Fill a sheet under a header that stays in sight."""
    widths = [len(name) for name in header]
    for index, name in enumerate(header, start=1):
        _set(sheet.cell(1, index), name)
        sheet.cell(1, index).font = Font(bold=True)
    for number, row in enumerate(rows, start=2):
        for index, value in enumerate(row, start=1):
            if value is not None and value != "":
                cell = sheet.cell(number, index)
                _set(cell, value)
                widths[index - 1] = max(
                    widths[index - 1], len(str(cell.value)) if cell.data_type == "s" else 8
                )
                if header[index - 1] in (*_SHARES, *_SPLIT) or header[index - 1].startswith(
                    ("accuracy/", "format/")
                ):
                    cell.number_format = _PERCENT
    for index, width in enumerate(widths, start=1):
        low, high = _WIDTHS
        sheet.column_dimensions[get_column_letter(index)].width = min(max(width + 2, low), high)
    sheet.freeze_panes = "A2"
    sheet.auto_filter.ref = sheet.dimensions


def _set(cell: Cell, value: Any) -> None:
    """A number as a number, all else as text that no program takes for a formula."""
    if is_number(value):
        cell.value = value
        return
    cell.value = visible(str(value))[:_LONGEST_TEXT]
    cell.data_type = "s"
    # The mark that a user sets with a leading apostrophe: the text stays text when its cell is edited.
    cell.quotePrefix = True
