"""All that a report holds, and its numbers as one document (`results.json`)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.evaluation.report import paper
from curr_reft.evaluation.report.collect import Findings
from curr_reft.evaluation.report.comparisons import Pair
from curr_reft.evaluation.report.documents import Evaluation


@dataclass(frozen=True)
class Report:
    """What was found, what was compared, and whose answers are shown."""

    findings: Findings
    pairs: Sequence[Pair]
    shown: Sequence[Evaluation]
    """The evaluations with a gallery."""
    examples: int
    """Right and wrong answers to show of each suite."""
    data_root: Path | None
    """Where images lie; `None` for where each evaluation says."""


def record(report: Report) -> dict[str, Any]:
    """The report's numbers; shares between 0 and 1, the paper's in its own percent. All are finite."""
    findings = report.findings
    return {
        "evaluations": [
            {**each.record, "name": each.name, "directory": str(each.directory)}
            for each in findings.evaluations
        ],
        "comparisons": [
            {
                "a": pair.a,
                "b": pair.b,
                "suites": {suite: dataclasses.asdict(found) for suite, found in pair.suites.items()},
            }
            for pair in report.pairs
        ],
        "training": [
            {
                "name": run.name,
                "stage": run.stage,
                "status": run.manifest.status if run.manifest else None,
                "log_history": run.log,
            }
            for run in findings.training
        ],
        "pass_at_k": [{**each.record, "name": each.name} for each in findings.pass_at_k],
        "general_benchmarks": [each.model_dump() for each in findings.benchmarks],
        "paper": paper_record(report),
    }


def paper_record(report: Report) -> dict[str, Any]:
    """The paper's rows beside ours, and what is to be said about them."""
    findings = report.findings
    backbones = paper.by_backbone(findings.evaluations)
    return {
        "visual_tasks": {
            "columns": [dataclasses.asdict(column) for column in paper.columns()],
            "rows": [dataclasses.asdict(row) for row in paper.visual_rows() if row.backbone in backbones],
        },
        "general_benchmarks": {
            "columns": list(paper.benchmark_names()),
            "rows": [
                dataclasses.asdict(row)
                for row in paper.rows_beside(findings.benchmarks, findings.evaluations)
            ],
        },
        "caveat": paper.CAVEAT,
        "remarks": paper.remarks(findings.evaluations),
    }
