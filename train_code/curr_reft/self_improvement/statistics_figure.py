"""The figure of a selection: how much of each source was taken, and how the best answers' totals lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from curr_reft.self_improvement.sources import DOMAINS

# Colour-blind readers tell them apart (Okabe and Ito's palette).
_COLOURS = dict(zip(DOMAINS, ("#0072B2", "#009E73", "#E69F00"), strict=True))
_BELOW, _ABOVE = "#BBBBBB", "#0072B2"
_BIN = 5


def draw_selection(
    rows: Sequence[dict[str, Any]], best_totals: Sequence[float], threshold: float, judge: str
) -> Figure:
    """Selection rates by source beside the histogram of each query's best total.

    Args:
        rows: Of `statistics.source_rows`.
        best_totals: From 0 to 100.
    """
    figure = Figure(figsize=(11, max(3.6, 1.6 + 0.34 * len(rows))), layout="constrained")
    rates, totals = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_rates(rates, rows)
    _draw_totals(totals, best_totals, threshold)
    handles, labels = rates.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize="small", frameon=False)
    figure.suptitle(f"Selected above {threshold:g}, judged by {judge}", parse_math=False, wrap=True)
    return figure


def _draw_rates(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    places = np.arange(len(rows))
    percents = [100 * (row["selection_rate"] or 0) for row in rows]
    axes.barh(places, percents, color=[_COLOURS[row["domain"]] for row in rows], height=0.7)
    for place, percent, row in zip(places, percents, rows, strict=True):
        short = f", {row['shortfall']:,} short" if row["shortfall"] else ""
        text = f" {percent:.1f} %: {row['selected']:,} of n={row['queries']:,}{short}"
        axes.text(percent, place, text if row["queries"] else " no queries", va="center", fontsize="small")
    axes.set_yticks(places, [row["source"] for row in rows], parse_math=False)
    axes.invert_yaxis()
    # Room for the text beside the longest bar.
    axes.set_xlim(0, max([*percents, 1]) * 1.9)
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 100])
    axes.set_xlabel("selected, percent of the source's queries (n)")
    axes.set_title("Selection rate by source")
    for domain in dict.fromkeys(row["domain"] for row in rows):
        axes.barh([0], [0], color=_COLOURS[domain], label=domain)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_totals(axes: Axes, best_totals: Sequence[float], threshold: float) -> None:
    # A total on an edge belongs to the left of it, for one on the threshold does not exceed it.
    edges = np.arange(0, 100 + _BIN, _BIN) + 1e-6
    edges[0] = 0
    above = [total for total in best_totals if total > threshold]
    below = [total for total in best_totals if total <= threshold]
    axes.hist(
        [below, above],
        bins=edges,
        stacked=True,
        color=[_BELOW, _ABOVE],
        label=[f"not above: {len(below):,}", f"above: {len(above):,}"],
        edgecolor="white",
        linewidth=0.5,
    )
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axes.set_xlim(0, 100)
    axes.set_xlabel("total score of the query's best answer")
    axes.set_ylabel("queries")
    axes.set_title(f"Totals of the best answers (n={len(best_totals):,})")
    axes.legend(fontsize="small", loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
