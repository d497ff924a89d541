"""The report's tables as Markdown (`results.md`)."""

from curr_reft.evaluation.report import paper
from curr_reft.evaluation.report.record import Report
from curr_reft.evaluation.report.tables import (
    accuracy_table,
    benchmark_table,
    comparison_table,
    paper_table,
    pass_at_k_table,
    quality_table,
    training_table,
)
from curr_reft.files.tables import markdown_text, to_markdown

_CELLS = (
    "Our accuracies are `strict [95 % Wilson interval] (tolerant, released)`, in percent: what the strict"
    " and the tolerant reading and what the paper's released evaluator make of the same answers."
)


def results_markdown(report: Report) -> str:
    """The tables of all that was found, the paper's rows beside ours where the model is the same."""
    findings = report.findings
    parts = ["# Evaluation report"]
    if findings.evaluations:
        parts += ["## Accuracy", _CELLS]
        tables = [accuracy_table(findings.evaluations, domain) for domain in ("in", "out")]
        tables.append(quality_table(findings.evaluations))
        parts += [to_markdown(table) for table in tables if table.rows]
        parts.append("## Beside the paper")
        backbones = paper.by_backbone(findings.evaluations)
        parts += [to_markdown(paper_table(ours, backbone)) for backbone, ours in backbones.items()]
        parts += [paper.CAVEAT] if backbones else []
        parts += map(markdown_text, paper.remarks(findings.evaluations))
    if report.pairs:
        parts += ["## Paired comparisons", *(to_markdown(comparison_table(pair)) for pair in report.pairs)]
    if findings.pass_at_k:
        parts += ["## pass@k", to_markdown(pass_at_k_table(findings.pass_at_k))]
    if findings.training:
        parts += ["## Training", to_markdown(training_table(findings.training))]
    if findings.benchmarks:
        rows = paper.rows_beside(findings.benchmarks, findings.evaluations)
        parts += ["## General benchmarks", to_markdown(benchmark_table(findings.benchmarks, rows))]
        for entry in findings.benchmarks:
            notes = [f"- {markdown_text(note)}" for note in entry.notes]
            parts += (
                [f"{markdown_text(entry.name)} differs from the paper:", "\n".join(notes)] if notes else []
            )
    return "\n\n".join(parts) + "\n"
