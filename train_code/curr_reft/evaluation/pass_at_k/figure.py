"""The figure of pass@k against k, with the points that were measured and no others.

The released `pass@k.py` computes no pass@k: it plots three CSV files, makes up points at values of k that
were not measured, and lifts the whole choice curve by 0.2.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from curr_reft.stages import STAGES

COLOURS = dict(zip(STAGES, ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"), strict=False))
"""Of each task type; colour-blind readers tell them apart (Okabe and Ito's palette)."""
_MARKERS = dict(zip(STAGES, "osD^vP", strict=False))
_CLOSEST_TICKS = 1.3
_MARGIN = 1.15


def draw_curves(results: Sequence[dict[str, Any]]) -> Figure:
    """The curves of several task types over k on a logarithmic axis, with their 95 % intervals shaded.

    Markers are measured values; the lines between them are for the eye.

    Args:
        results: Contents of ``TASK_TYPE_pass_at_k.json`` files, at most one of a task type, in any order.
    """
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.add_subplot()
    in_order = sorted(results, key=lambda result: list(STAGES).index(result["task_type"]))
    for result in in_order:
        _draw_curve(axes, result)
    _label_k(axes, sorted({point["k"] for result in results for point in _measured(result)}))
    axes.set_ylim(0, 1)
    axes.set_ylabel("pass@k")
    # In the order of the legend where the task types were measured on different models.
    models = dict.fromkeys(result["model"] for result in in_order)
    axes.set_title("pass@k of " + ", ".join(models), parse_math=False)
    axes.grid(alpha=0.3)
    if in_order:
        title = "95 % bootstrap intervals over problems"
        axes.legend(title=title, fontsize="small", title_fontsize="small")
    return figure


def _measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a curve; a k for which no problem had enough judged samples has none."""
    points = [point for point in result["k"] if point["pass_at_k"] is not None]
    return sorted(points, key=lambda point: point["k"])


def _draw_curve(axes: Axes, result: dict[str, Any]) -> None:
    task_type = result["task_type"]
    columns = ("k", "pass_at_k", "low", "high")
    ks, means, lows, highs = ([point[name] for point in _measured(result)] for name in columns)
    colour = COLOURS[task_type]
    label = (
        f"{task_type}: {result['problems']} problems, {result['num_samples']} samples each,"
        f" judged by {result['judge']}"
    )
    # Points at 0 and 1 are shown whole.
    axes.plot(ks, means, color=colour, marker=_MARKERS[task_type], label=label, clip_on=False, zorder=3)
    # A problem with too few judged samples is left out there, and those that stay may be the easier ones.
    some = [
        point for point in _measured(result) if point.get("problems", result["problems"]) < result["problems"]
    ]
    if some:
        ks_of_some, means_of_some = ([point[name] for point in some] for name in ("k", "pass_at_k"))
        axes.plot(
            *(ks_of_some, means_of_some),
            color=colour,
            marker=_MARKERS[task_type],
            markerfacecolor="white",
            linestyle="none",
            label=f"{task_type}: not all problems have so many judged samples",
            clip_on=False,
            zorder=4,
        )
    axes.fill_between(ks, lows, highs, color=colour, alpha=0.15, linewidth=0)
    # A curve of one point has no area to shade.
    axes.vlines(ks, lows, highs, color=colour, alpha=0.4)


def _label_k(axes: Axes, ks: Sequence[int]) -> None:
    """Plain numbers at the measured k, without those that would stand on top of each other."""
    axes.set_xscale("log", base=2)
    axes.set_xlabel("k")
    ticks: list[int] = []
    for k in ks:
        if not ticks or k >= _CLOSEST_TICKS * ticks[-1]:
            ticks.append(k)
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if ks:
        axes.set_xlim(ks[0] / _MARGIN, ks[-1] * _MARGIN)
