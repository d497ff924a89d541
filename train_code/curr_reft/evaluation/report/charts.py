"""The report's charts: accuracies, accuracies over steps, differences, training, pass@k."""

from collections.abc import Iterator, Sequence
from itertools import product, takewhile

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from curr_reft.evaluation.compare import Comparison, Gain
from curr_reft.evaluation.pass_at_k.figure import draw_curves
from curr_reft.evaluation.report.comparisons import Pair
from curr_reft.evaluation.report.documents import Evaluation, PassAtK, SuiteScore, TrainingRun
from curr_reft.evaluation.report.svg import FAINT, SERIES, Chart, drawing, panel, to_chart
from curr_reft.evaluation.report.tables import NOT_SCORED, percent, suites_of
from curr_reft.files.text import visible

_STRICT, _RELEASED, _TOLERANT = SERIES
_OTHER_SCORINGS = (("tolerant", _TOLERANT, "s"), ("released", _RELEASED, "D"))
"""Beside the strict one: name, colour and mark."""
_PERCENT_LIMITS = (-2, 102)
_LONGEST_NAME = 26
_MANY_POINTS = 50
_LINES = list(product((".-", ".--", ".:"), SERIES))
"""Of curves in one panel."""
_TRAINING_PANELS = (
    ("Reward", "mean of a completion", "reward"),
    ("Accuracy reward by task", "mean of a completion", "accuracy/"),
    ("KL to the stage's start", "mean per token", "kl"),
    ("Groups without signal", "share of groups", "frac_reward_zero_std"),
)
"""Title, unit, and what was logged: one value, or all under a prefix."""


def accuracy_charts(evaluations: Sequence[Evaluation]) -> Iterator[Chart]:
    """A panel per suite: strict accuracy with its interval, the tolerant and the released, a line each."""
    shared = _shared_folders([evaluation.name for evaluation in evaluations])
    for suite in _suites(evaluations):
        asked = {
            evaluation.name: evaluation.scores[suite]
            for evaluation in evaluations
            if suite in evaluation.scores
        }
        names = [name.removeprefix(shared) for name in asked]
        with panel(suite, height=0.95 + 0.26 * len(asked)) as (figure, axes):
            _draw_lines(axes, names, list(map(_percents, asked.values())), label="strict, 95 %")
            for name, colour, mark in _OTHER_SCORINGS:
                shares = {place: getattr(score, name) for place, score in enumerate(asked.values())}
                told = {place: 100 * share for place, share in shares.items() if share is not None}
                axes.plot(
                    list(told.values()),
                    list(told),
                    mark,
                    color=colour,
                    markerfacecolor="none",
                    markeredgewidth=1.4,
                    label=name,
                )
            axes.set_xlim(_PERCENT_LIMITS)
            axes.set_xlabel("accuracy in percent")
            figure.legend(loc="outside lower center", ncols=3)
        values = "; ".join(f"{name} {_spoken(score)}" for name, score in asked.items())
        yield to_chart(figure, f"Accuracy on {suite}, in percent: {values}")


def step_charts(series: Sequence[Evaluation]) -> Iterator[Chart]:
    """A panel per suite: accuracy over the steps of one training run, the interval as a band."""
    for suite in _suites(series):
        scores = {each.step: each.scores[suite] for each in series if suite in each.scores}
        steps = list(scores)
        middle, low, high = zip(*map(_percents, scores.values()), strict=True)
        with panel(suite, height=2.5) as (figure, axes):
            axes.fill_between(steps, low, high, color=_STRICT, alpha=0.2, linewidth=0, label="95 %")
            axes.plot(steps, middle, "o-", color=_STRICT, markersize=4, label="strict")
            for name, colour, mark in _OTHER_SCORINGS:
                shares = {step: getattr(score, name) for step, score in scores.items()}
                told = {step: 100 * share for step, share in shares.items() if share is not None}
                axes.plot(
                    list(told),
                    list(told.values()),
                    f"{mark}--",
                    color=colour,
                    markersize=4,
                    markerfacecolor="none",
                    linewidth=1,
                    label=name,
                )
            axes.set_ylim(_PERCENT_LIMITS)
            _label_steps(axes)
            axes.set_ylabel("accuracy in percent")
            figure.legend(loc="outside lower center", ncols=4)
        values = "; ".join(f"step {step} {_spoken(score)}" for step, score in scores.items())
        yield to_chart(figure, f"Accuracy on {suite} over steps, in percent: {values}")


def gain_charts(pair: Pair) -> Iterator[Chart]:
    """A panel per suite: the strict difference of a pair, and the ability and the format in it."""
    for suite, found in pair.suites.items():
        gains: dict[str, Comparison | Gain] = {"strict": found}
        if found.tolerant is not None:
            gains |= {"of it ability": found.tolerant, "of it format": found.format}
        if found.released is not None:
            gains["released"] = found.released
        values = [tuple(100 * x for x in (each.difference, each.low, each.high)) for each in gains.values()]
        with panel(f"{suite}: B minus A", height=0.8 + 0.26 * len(values)) as (_, axes):
            axes.axvline(0, color=FAINT, linewidth=1)
            _draw_lines(axes, list(gains), values, label=None)
            axes.set_xlabel("percentage points, with 95 % interval")
        spoken = "; ".join(f"{name} {value[0]:+.1f}" for name, value in zip(gains, values, strict=True))
        yield to_chart(
            axes.figure, f"{suite}: accuracy of {pair.b} minus that of {pair.a}, in points: {spoken}"
        )


def training_charts(run: TrainingRun) -> Iterator[Chart]:
    """What a run logged over its steps: reward, accuracy by task, KL, share of groups without signal.

    What was logged more than 50 times is drawn faintly, under its moving mean.
    """
    logged = dict.fromkeys(key for entry in run.log for key in entry)
    for title, label, wanted in _TRAINING_PANELS:
        keys = [key for key in logged if key == wanted or (wanted[-1] == "/" and key.startswith(wanted))]
        curves = {key.removeprefix(wanted) or key: run.curve(key) for key in keys[: len(_LINES)]}
        curves = {name: curve for name, curve in curves.items() if curve[0]}
        if not curves:
            continue
        with panel(title, height=2.2 if len(curves) == 1 else 2.5, width=3.5) as (figure, axes):
            for (line, colour), (name, (steps, values)) in zip(_LINES, curves.items(), strict=False):
                _draw_curve(axes, steps, values, line, colour, visible(name))
            _label_steps(axes)
            axes.set_ylabel(label)
            drawn = [value for _, series in curves.values() for value in series]
            axes.set_ylim(min(0, *drawn), 1.08 * max(0, *drawn) or 1)
            if wanted[-1] == "/":
                figure.legend(loc="outside lower center", ncols=3)
        ends = "; ".join(
            f"{name} from {values[0]:.3g} to {values[-1]:.3g}" for name, (_, values) in curves.items()
        )
        yield to_chart(figure, f"{title} over the steps of {run.name}: {ends}")


def pass_at_k_chart(results: Sequence[PassAtK]) -> Chart:
    """The curves of one model, one per form of the questions; in the figure's own colours, made for white."""
    with drawing():
        figure = draw_curves(
            [
                {
                    **result.record,
                    "model": visible(result.model),
                    "k": [point.model_dump(exclude_none=True) for point in result.points],
                }
                for result in results
            ]
        )
    ends = "; ".join(
        f"{result.task_type} from {percent(result.points[0].pass_at_k)} at k={result.points[0].k}"
        f" to {percent(result.points[-1].pass_at_k)} at k={result.points[-1].k}"
        for result in results
        if result.points
    )
    return to_chart(figure, f"pass@k of {results[0].model}, in percent: {ends}")


def _suites(evaluations: Sequence[Evaluation]) -> list[str]:
    return [suite for domain in ("in", "out") for suite in suites_of(evaluations, domain)]


def _percents(score: SuiteScore) -> tuple[float, float, float]:
    return 100 * score.accuracy, 100 * score.low, 100 * score.high


def _spoken(score: SuiteScore) -> str:
    others = (f"{percent(getattr(score, name)) or NOT_SCORED} {name}" for name, *_ in _OTHER_SCORINGS)
    return f"{percent(score.accuracy)} strict, {', '.join(others)}"


def _draw_lines(
    axes: Axes, names: Sequence[str], values: Sequence[tuple[float, float, float]], label: str | None
) -> None:
    """A point with its interval per name, `(point, low, high)` each, the first on top."""
    places = range(len(names))
    points, lows, highs = zip(*values, strict=True)
    axes.hlines(places, lows, highs, color=_STRICT, linewidth=2.4, alpha=0.5)
    axes.plot(points, places, "o", color=_STRICT, label=label)
    axes.set_yticks(places, [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _label_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))


def _draw_curve(
    axes: Axes, steps: Sequence[int], values: Sequence[float], line: str, colour: str, name: str
) -> None:
    if len(steps) <= _MANY_POINTS:
        axes.plot(steps, values, line, color=colour, label=name)
        return
    axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
    width = len(steps) // 25
    moving = (np.convolve(series, np.full(width, 1 / width), "valid") for series in (steps, values))
    axes.plot(*moving, line[1:], color=colour, linewidth=1.8, label=name)


def _shared_folders(names: Sequence[str]) -> str:
    """The folders that all names begin with, which tell nothing apart."""
    folders = zip(*(name.split("/")[:-1] for name in names), strict=False)
    shared = takewhile(lambda level: len(set(level)) == 1 < len(level), folders)
    return "".join(f"{level[0]}/" for level in shared)


def _short(name: str) -> str:
    """A long name's end, in which the names of checkpoints differ."""
    name = visible(name)
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
