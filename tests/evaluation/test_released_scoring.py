"""The released scoring of predictions: every golden row."""

import pytest

from curr_reft.rewards.released_evaluation import score
from curr_reft.tasks.score import RELEASED_CRASH


def test_every_golden_row_of_the_main_evaluator(golden):
    # detection_out is a branch the release cannot reach.
    rows = [row for row in golden("eval_main") if row["item_add"] != "detection_out"]
    assert len(rows) == 1296
    for row in rows:
        result = score(row["item_add"], row["model_output"], row["example"])
        assert result.reward == row["correct"], (row["id"], result)
        assert result.incident is None


def test_every_golden_row_of_refgta_and_where_the_loop_stops(golden):
    rows = golden("eval_refgta")
    crashes = 0
    for row in rows:
        result = score("refgta", row["model_output"], row["example"])
        assert result.reward == (row["correct"] or 0), (row["id"], result)
        assert (result.incident == RELEASED_CRASH) == (row["error"] is not None), row["id"]
        assert row["error"] is None or result.rule.startswith(row["error"])
        crashes += result.incident == RELEASED_CRASH
    assert (len(rows), crashes) == (480, 9)


@pytest.mark.parametrize("suite", ["detection_in", "classify_in", "math_in", "math_out", "refgta"])
@pytest.mark.parametrize("solution", [None, 5, [1, 2, 3, 4], {}, "<answer>[" * 500, "[" * 5000])
def test_no_gold_raises(suite, solution):
    example = dict.fromkeys(("solution", "normalized_solution", "resize_solution"), solution)
    assert score(suite, "<answer>[1, 2, 3, 4]</answer>", example).reward in (0, 1)
