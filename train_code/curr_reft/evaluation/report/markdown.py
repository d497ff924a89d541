"""The report's tables as Markdown (`results.md`)."""

from curr_reft.evaluation.report import paper
from curr_reft.evaluation.report.record import Report
from curr_reft.evaluation.report.tables import (
    accuracy_grid,
    benchmark_grid,
    comparison_grid,
    markdown_text,
    paper_grid,
    pass_at_k_grid,
    quality_grid,
    training_grid,
)

_CELLS = (
    "Our accuracies are `strict [95 % Wilson interval] (tolerant, released)`, in percent: what the strict"
    " and the tolerant reading and what the paper's released evaluator make of the same answers."
)


def to_markdown(report: Report) -> str:
    """The tables of all that was found, the paper's rows beside ours where the model is the same."""
    findings = report.findings
    parts = ["# Evaluation report"]
    if findings.evaluations:
        parts += ["## Accuracy", _CELLS]
        grids = [accuracy_grid(findings.evaluations, domain) for domain in ("in", "out")]
        grids.append(quality_grid(findings.evaluations))
        parts += [grid.to_markdown() for grid in grids if grid.rows]
        parts.append("## Beside the paper")
        backbones = paper.by_backbone(findings.evaluations)
        parts += [paper_grid(ours, backbone).to_markdown() for backbone, ours in backbones.items()]
        parts += [paper.CAVEAT] if backbones else []
        parts += map(markdown_text, paper.remarks(findings.evaluations))
    if report.pairs:
        parts += ["## Paired comparisons", *(comparison_grid(pair).to_markdown() for pair in report.pairs)]
    if findings.pass_at_k:
        parts += ["## pass@k", pass_at_k_grid(findings.pass_at_k).to_markdown()]
    if findings.training:
        parts += ["## Training", training_grid(findings.training).to_markdown()]
    if findings.benchmarks:
        rows = paper.rows_beside(findings.benchmarks, findings.evaluations)
        parts += ["## General benchmarks", benchmark_grid(findings.benchmarks, rows).to_markdown()]
        for entry in findings.benchmarks:
            notes = [f"- {markdown_text(note)}" for note in entry.notes]
            parts += (
                [f"{markdown_text(entry.name)} differs from the paper:", "\n".join(notes)] if notes else []
            )
    return "\n\n".join(parts) + "\n"
