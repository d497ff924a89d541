"""What a selection came to: a record as JSON, a table of its sources as CSV, Markdown and on a screen."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from curr_reft.files.atomic import replacing
from curr_reft.files.tables import Table, markdown_text, to_markdown
from curr_reft.self_improvement.selection import Selection
from curr_reft.self_improvement.sources import Composition
from curr_reft.self_improvement.statistics_figure import draw_selection

PAPER_RATE = 12.7
"""Percent, of whatever the paper took its 1,520 examples from."""
COLUMNS = (
    *("source", "domain", "queries", "candidates", "rejected", "above_threshold", "duplicates"),
    *("quota", "selected", "shortfall", "selection_rate"),
)
_SUMS = COLUMNS[2:-1]


def source_rows(selection: Selection, composition: Composition) -> list[dict[str, Any]]:
    """A row of `COLUMNS` for each source, and `rejected_by_reason`; rates are of queries, from 0 to 1."""
    rows = []
    for source in composition.sources:
        count = selection.counts[source.name]
        row = {
            "source": source.name,
            "domain": source.domain,
            "queries": count.queries,
            "candidates": count.candidates,
            "rejected": count.rejected.total(),
            "above_threshold": count.above_threshold,
            "duplicates": count.duplicates,
            "quota": source.quota,
            "selected": count.selected,
            "shortfall": source.quota - count.selected,
            "rejected_by_reason": dict(count.rejected.most_common()),
        }
        rows.append({**row, "selection_rate": _rate(row)})
    return rows


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sums of rows of `source_rows`, and their rate."""
    sums = {name: sum(row[name] for row in rows) for name in _SUMS}
    reasons = sum((Counter(row["rejected_by_reason"]) for row in rows), Counter())
    return {**sums, "rejected_by_reason": dict(reasons.most_common()), "selection_rate": _rate(sums)}


def domain_totals(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`totals` of each domain, in the order of their first sources."""
    domains = dict.fromkeys(row["domain"] for row in rows)
    return {domain: totals([row for row in rows if row["domain"] == domain]) for domain in domains}


def write_statistics(
    directory: Path, settings: dict[str, Any], selection: Selection, composition: Composition
) -> None:
    """Write ``selection.json``, ``.csv``, ``.md`` and ``.png``, each whole or not at all.

    Args:
        settings: What the record begins with.

    Raises:
        InputError: when a file cannot be written.
    """
    rows = source_rows(selection, composition)
    best = Counter(round(total, 1) for total in selection.best_totals)
    record = {
        **settings,
        "sources": rows,
        "domains": domain_totals(rows),
        "total": totals(rows),
        "paper_selection_rate": PAPER_RATE / 100,
        "queries_by_best_total": {f"{total:g}": count for total, count in sorted(best.items())},
    }
    text = {
        "json": json.dumps(record, indent=2, allow_nan=False) + "\n",
        "csv": pd.DataFrame(_with_sums(rows), columns=COLUMNS).to_csv(index=False, lineterminator="\n"),
        "md": _markdown(rows, selection_table(selection, composition, settings["judge"])),
    }
    for suffix, content in text.items():
        with replacing(directory / f"selection.{suffix}") as file:
            file.write(content)
    figure = draw_selection(rows, selection.best_totals, composition.threshold, settings["judge"])
    with replacing(directory / "selection.png", binary=True) as file:
        figure.savefig(file, format="png", dpi=160)


def selection_table(selection: Selection, composition: Composition, judge: str) -> Table:
    """A row per source and one of their sums."""
    cells = []
    for row in _with_sums(source_rows(selection, composition)):
        *told, rate = (row[name] for name in COLUMNS)
        texts = [f"{cell:,}" if isinstance(cell, int) else cell for cell in told]
        cells.append([*texts, _percent(rate)])
    title = f"Selected: total above {composition.threshold:g} by {judge}"
    return Table(title, [name.replace("_", " ") for name in COLUMNS], cells, names=2)


def _with_sums(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, {"source": "all", "domain": "", **totals(rows)}]


def _rate(row: dict[str, Any]) -> float | None:
    return row["selected"] / row["queries"] if row["queries"] else None


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"


def _markdown(rows: Sequence[dict[str, Any]], table: Table) -> str:
    total = totals(rows)
    lines = [
        to_markdown(table),
        "",
        "Above threshold, duplicates and selected count queries; candidates and rejected count answers. The"
        " rate is that of queries.",
        "",
        f"Selection rate: {_percent(total['selection_rate'])} here, {PAPER_RATE} % in the paper, which gives"
        " neither its judge's prompt nor the number of answers to a query.",
        "",
        *(
            f"- {domain}: {sums['selected']:,} of {sums['quota']:,}"
            for domain, sums in domain_totals(rows).items()
        ),
    ]
    if total["rejected_by_reason"]:
        lines += ["", "Candidates that can be no example:", ""]
        lines += [
            f"- {markdown_text(reason)}: {count:,}" for reason, count in total["rejected_by_reason"].items()
        ]
    return "\n".join(lines) + "\n"
