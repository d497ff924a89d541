"""The report as one HTML page that needs nothing else and runs no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from curr_reft.evaluation.report import paper, provenance, tables
from curr_reft.evaluation.report.charts import (
    accuracy_charts,
    gain_charts,
    pass_at_k_chart,
    step_charts,
    training_charts,
)
from curr_reft.evaluation.report.documents import Evaluation, TrainingRun
from curr_reft.evaluation.report.gallery import shelves
from curr_reft.evaluation.report.record import Report
from curr_reft.evaluation.report.svg import Chart
from curr_reft.files.html import render_template
from curr_reft.files.tables import Table, to_html

_TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Panel:
    """Charts and a table under one title."""

    title: str
    charts: Sequence[Chart]
    table: Table | None = None


def to_page(report: Report) -> str:
    """The page as HTML.

    Raises:
        InputError: when the rows of a suite that is shown are broken.
    """
    findings = report.findings
    evaluations = findings.evaluations
    backbones = paper.by_backbone(evaluations)
    return render_template(
        _TEMPLATE,
        lstrip_blocks=True,
        report=report,
        to_html=to_html,
        findings=findings,
        accuracy=[
            table for domain in ("in", "out") if (table := tables.accuracy_table(evaluations, domain)).rows
        ],
        accuracy_charts=list(accuracy_charts(evaluations)),
        quality=tables.quality_table(evaluations),
        series=[Panel(name, list(step_charts(series))) for name, series in checkpoint_series(evaluations)],
        comparisons=[
            Panel("", list(gain_charts(pair)), tables.comparison_table(pair)) for pair in report.pairs
        ],
        paper_tables=[tables.paper_table(ours, backbone) for backbone, ours in backbones.items()],
        other_models=tables.paper_table([], None),
        paper_remarks=paper.remarks(evaluations),
        caveat=paper.CAVEAT,
        pass_at_k_charts=[pass_at_k_chart(group) for group in tables.pass_at_k_groups(findings.pass_at_k)],
        pass_at_k=tables.pass_at_k_table(findings.pass_at_k),
        training=[Panel(_training_title(run), list(training_charts(run))) for run in findings.training],
        training_table=tables.training_table(findings.training),
        benchmarks=tables.benchmark_table(
            findings.benchmarks, paper.rows_beside(findings.benchmarks, evaluations)
        ),
        galleries=[
            (each.name, list(shelves(each, report.examples, report.data_root)))
            for each in report.shown
            if report.examples
        ],
        facts=[
            provenance.model_table(evaluations),
            provenance.data_table(evaluations),
            provenance.settings_table(evaluations),
        ],
        differing_data=provenance.differing_data(evaluations),
    )


def checkpoint_series(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[Evaluation]]]:
    """Evaluations of checkpoints of one run, by step: several that lie in one folder and know their step."""
    found = []
    stepped = [evaluation for evaluation in evaluations if evaluation.step is not None]
    runs = groupby(stepped, key=lambda each: (each.directory.parent, each.record.get("training_run")))
    for (folder, _), group in runs:
        series = sorted(group, key=lambda evaluation: evaluation.step)
        if len({evaluation.step for evaluation in series}) > 1:
            name = series[0].name.removesuffix(series[0].directory.name).rstrip("/")
            found.append((name or folder.resolve().name, series))
    return found


def _training_title(run: TrainingRun) -> str:
    return run.name if run.stage is None or run.stage in run.name else f"{run.name}: stage {run.stage}"
