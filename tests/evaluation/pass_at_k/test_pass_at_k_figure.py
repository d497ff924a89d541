"""The figure shows what was measured; what the released script makes of the same points is beside it."""

import pytest

from curr_reft.evaluation.pass_at_k.figure import COLOURS, draw_curves


def result(task_type: str, measured: dict[int, float]) -> dict:
    points = [{"k": k, "pass_at_k": p, "low": p - 0.03, "high": p + 0.03} for k, p in measured.items()]
    settings = {"model": "tested", "judge": "rule", "num_samples": 256, "problems": 9}
    return {"task_type": task_type, **settings, "k": points}


@pytest.mark.parametrize("task_type", COLOURS)
def test_measured_points_alone_are_plotted_and_no_curve_is_lifted(golden, task_type):
    cases = golden("passk")
    assert len(cases) == 7
    for case in cases:
        measured = {int(k): value for k, value in case["measured"].items()}
        assert case["fabricated_k"]
        (curve,) = draw_curves([result(task_type, measured)]).axes[0].get_lines()
        drawn = dict(zip(curve.get_xdata(), curve.get_ydata(), strict=True))
        assert drawn == measured
        assert not set(drawn) & set(case["fabricated_k"])
        assert list(curve.get_xdata()) == sorted(measured)
        lifted = {int(k): value for k, value in case["plotted_choice_curve"].items()}
        assert all(lifted[k] != drawn[k] for k in drawn if drawn[k] < 0.9)


def test_curves_have_fixed_colours_and_order_whatever_is_there():
    results = [result("open", {1: 0.1, 8: 0.2}), result("judge", {1: 0.5, 4: 0.9})]
    axes = draw_curves(results).axes[0]
    assert [line.get_color() for line in axes.get_lines()] == [COLOURS["judge"], COLOURS["open"]]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == ["judge", "open"]
    assert all("9 problems, 256 samples each, judged by rule" in label for label in labels)
    assert axes.get_title() == "pass@k of tested"
    assert axes.get_ylim() == (0, 1)


def test_ticks_are_plain_numbers_of_measured_k():
    axes = draw_curves([result("open", dict.fromkeys([1, 2, 3, 100, 110, 256], 0.5))]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3", "100", "256"]
    assert axes.get_xscale() == "log"


def test_a_k_without_any_problem_is_no_point_and_one_point_is_a_curve(tmp_path):
    one = result("open", {1: 0.4})
    one["k"].append({"k": 4, "pass_at_k": None, "low": None, "high": None})
    figure = draw_curves([one])
    (curve,) = figure.axes[0].get_lines()
    assert list(curve.get_xdata()) == [1]
    figure.savefig(tmp_path / "one.png")
    draw_curves([{**one, "k": [], "model": "$\\frac{ $"}]).savefig(tmp_path / "none.png")
