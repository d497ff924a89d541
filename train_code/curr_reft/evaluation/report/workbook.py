"""The report's numbers as a workbook: a sheet of each kind, numbers as numbers, text as text."""

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from curr_reft.evaluation.report import paper
from curr_reft.evaluation.report.documents import is_number
from curr_reft.evaluation.report.record import Report
from curr_reft.files.text import visible

Row = dict[str, Any]

_SHARE = re.compile(
    "(strict|tolerant|released|format|accuracy)([_/].*)?"
    "|low|high|overlap|unparsed|truncated|pass_at_k|difference|frac_reward_zero_std"
)
_LONGEST_TEXT = 32_767
"""Characters that a cell takes."""
_WIDTH = 16


def to_workbook(report: Report) -> bytes:
    """The workbook's bytes. The sheets are `scores`, `pass_at_k`, `training`, `comparisons`, `general`."""
    sheets = {
        "scores": _scores(report),
        "pass_at_k": _pass_at_k(report),
        "training": _training(report),
        "comparisons": _comparisons(report),
        "general": _general(report),
    }
    file = io.BytesIO()
    with pd.ExcelWriter(file, engine="openpyxl") as writer:
        for name, rows in sheets.items():
            cells = [{_cell(key): _cell(value) for key, value in row.items()} for row in rows]
            frame = pd.DataFrame(cells, dtype=object)
            frame.to_excel(writer, sheet_name=name, index=False, freeze_panes=(1, 0), autofilter=True)
            _format(writer.sheets[name])
    return file.getvalue()


def _scores(report: Report) -> Iterator[Row]:
    for evaluation in report.findings.evaluations:
        for score in evaluation.scores.values():
            fields = score.model_dump(exclude={"settings", "rows_sha256"})
            told = ", ".join(f"{incident}: {count}" for incident, count in score.incidents.items())
            yield {
                "name": evaluation.name,
                "source": "ours",
                "model": evaluation.model,
                "step": evaluation.step,
                **{"strict" if key == "accuracy" else key: value for key, value in fields.items()},
                "incidents": told,
            }
    backbones = paper.by_backbone(report.findings.evaluations)
    for row in paper.visual_rows():
        if row.backbone in backbones:
            for column, value in zip(paper.columns(), row.values, strict=True):
                yield {
                    "name": row.row,
                    "source": f"paper, {row.table}",
                    "model": row.backbone,
                    "task": column.task,
                    "domain": column.domain,
                    "strict": value / 100,
                }


def _pass_at_k(report: Report) -> Iterator[Row]:
    for result in report.findings.pass_at_k:
        for point in result.points:
            yield {
                "name": result.name,
                "model": result.model,
                "questions": result.task_type,
                **point.model_dump(),
                "samples": result.num_samples,
                "judge": result.judge,
            }


def _training(report: Report) -> Iterator[Row]:
    for run in report.findings.training:
        for entry in run.log:
            yield {"name": run.name, "stage": run.stage, "step": entry["step"], **entry}


def _comparisons(report: Report) -> Iterator[Row]:
    for pair in report.pairs:
        for suite, found in pair.suites.items():
            fields = dataclasses.asdict(found)
            parts = {key: fields.pop(key) or {} for key in ("tolerant", "format", "released")}
            split = {f"{key}_{name}": value for key, part in parts.items() for name, value in part.items()}
            yield {"a": pair.a, "b": pair.b, "suite": suite, **fields, **split}


def _general(report: Report) -> Iterator[Row]:
    findings = report.findings
    for entry in findings.benchmarks:
        about = {"name": entry.name, "source": "ours", "model": entry.model}
        yield from ({**about, "benchmark": name, "value": value} for name, value in entry.results.items())
    for row in paper.rows_beside(findings.benchmarks, findings.evaluations):
        about = {"name": row.row, "source": f"paper, {row.table}", "model": row.backbone}
        for name, value in zip(paper.benchmark_names(), row.values, strict=True):
            yield {**about, "benchmark": name, "value": value}


def _cell(value: Any) -> Any:
    """A number or nothing as it is, all else as text that a cell takes."""
    return value if value is None or is_number(value) else visible(str(value))[:_LONGEST_TEXT]


def _format(sheet: Worksheet) -> None:
    """A bold header, shares in percent, and text that no program takes for a formula."""
    sheet.sheet_format.defaultColWidth = _WIDTH
    for column in sheet.iter_cols():
        is_share = _SHARE.fullmatch(str(column[0].value)) is not None
        column[0].font = Font(bold=True)
        for cell in column:
            if cell.value == "":
                cell.value = None
            elif isinstance(cell.value, str):
                cell.data_type = "s"
                # The mark that a user sets with a leading apostrophe: it stays text when it is edited.
                cell.quotePrefix = True
            elif is_share:
                cell.number_format = "0.0%"
