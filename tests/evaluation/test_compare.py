"""Paired comparisons."""

import json
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.errors import InputError
from curr_reft.evaluation.compare import compare, paired
from curr_reft.evaluation.evaluate import main
from curr_reft.evaluation.scores_file import read_scores


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_a_comparison_counts_pairs(pairs):
    found = paired(np.array(pairs))
    assert found.only_a == pairs.count((1, 0))
    assert found.only_b == pairs.count((0, 1))
    assert found.difference == pytest.approx(found.accuracy_b - found.accuracy_a)
    assert -1 <= found.low <= found.high <= 1
    assert found.split is None
    apart = found.only_a + found.only_b
    # McNemar's exact test by the binomial sum: both tails of a fair coin.
    tail = sum(comb(apart, i) for i in range(min(found.only_a, found.only_b) + 1)) / 2**apart
    assert found.p_value == pytest.approx(min(1, 2 * tail))


def test_the_interval_is_that_of_resampled_rows():
    pairs = np.array([(0, 1)] * 30 + [(1, 0)] * 10 + [(1, 1)] * 60)
    found = paired(pairs)
    rng = np.random.default_rng(0)
    rows = pairs[rng.integers(0, 100, size=(20_000, 100))]
    differences = (rows[:, :, 1] - rows[:, :, 0]).mean(axis=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.02)


def write(folder, scores, suite="math_in", settings=None, **change):
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"x.jsonl:{n}", "strict": score, "problem": "p", "example": {"solution": "1"}, **change}
        for n, score in enumerate(scores)
    ]
    (folder / f"{suite}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score = dict.fromkeys(("n", "accuracy", "low", "high", "overlap", "released", "unparsed", "truncated"), 0)
    before = read_scores(folder)
    scores = {**(before["scores"] if before else {}), suite: {**score, "settings": settings}}
    (folder / "scores.json").write_text(json.dumps({"scores": scores}))


def test_rows_that_both_have_are_compared(tmp_path, capsys):
    write(tmp_path / "a", [0, 1, 1, 0, 1])
    write(tmp_path / "b", [1, 1, 0, 1])
    write(tmp_path / "b", [1], "classify_in")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.keys() == {"math_in"}
    assert (found["math_in"].n, found["math_in"].only_a, found["math_in"].only_b) == (4, 1, 2)
    main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "+25.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"example": {"solution": "2"}}, "were asked or scored differently"),
        ({"problem": "q"}, "were asked or scored differently"),
    ],
)
def test_other_golds_are_refused(change, message, tmp_path):
    write(tmp_path / "a", [0, 1])
    write(tmp_path / "b", [0, 1], **change)
    with pytest.raises(InputError, match=message):
        compare(tmp_path / "a", tmp_path / "b")


def test_answers_without_scores_are_of_other_weights_and_not_compared(tmp_path):
    for name in "ab":
        write(tmp_path / name, [0, 1])
        write(tmp_path / name, [1, 1], "classify_in")
    scores = read_scores(tmp_path / "b")["scores"]
    (tmp_path / "b/scores.json").write_text(json.dumps({"scores": {"math_in": scores["math_in"]}}))
    assert compare(tmp_path / "a", tmp_path / "b").keys() == {"math_in"}


def test_other_settings_are_said(tmp_path, caplog):
    write(tmp_path / "a", [0, 1], settings={"prompts": "training", "seed": 1})
    write(tmp_path / "b", [0, 1], settings={"prompts": "released", "seed": 1})
    compare(tmp_path / "a", tmp_path / "b")
    assert "math_in: the two were asked with another prompts" in caplog.text


def test_nothing_to_compare_is_refused(tmp_path):
    write(tmp_path / "a", [0, 1])
    with pytest.raises(InputError, match=r"holds no scores\.json"):
        compare(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "b", [1], "classify_in")
    with pytest.raises(InputError, match="no suite that both"):
        compare(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "b", [0, 1])
    (tmp_path / "b/math_in.jsonl").write_text('{"id": "x.jsonl:0", "model_output": "not scored yet"}\n')
    with pytest.raises(InputError, match="no scored row"):
        compare(tmp_path / "a", tmp_path / "b")
