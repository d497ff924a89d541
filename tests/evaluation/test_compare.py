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
    assert found.tolerant is found.format is found.released is None
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


SCORES = st.lists(st.tuples(*[st.integers(0, 1)] * 4), min_size=1, max_size=60)


@given(SCORES)
def test_a_gain_is_the_sum_of_ability_and_format(scores):
    strict, tolerant = np.array(scores).reshape(-1, 2, 2).transpose(1, 0, 2)
    found = paired(strict, tolerant)
    assert found.tolerant.difference == pytest.approx(found.tolerant.b - found.tolerant.a)
    assert found.tolerant.difference + found.format.difference == pytest.approx(found.difference)
    for gain, most in ((found.tolerant, 1), (found.format, 2)):
        assert -most <= gain.low <= gain.difference + 1e-9
        assert gain.difference - 1e-9 <= gain.high <= most


def test_the_interval_of_format_is_paired_too():
    # B answers no better than A, and puts all of its answers into the block: that gain is format alone.
    strict = np.array([(0, 1)] * 40 + [(0, 0)] * 60)
    tolerant = np.array([(1, 1)] * 40 + [(0, 0)] * 60)
    found = paired(strict, tolerant)
    assert (found.tolerant.difference, found.tolerant.low, found.tolerant.high) == (0, 0, 0)
    assert found.format.difference == pytest.approx(0.4)
    rng = np.random.default_rng(0)
    means = rng.binomial(100, 0.4, size=20_000) / 100
    assert (found.format.low, found.format.high) == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.02
    )


def write(folder, scores, suite="math_in", settings=None, tolerant=(), **change):
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"x.jsonl:{n}", "strict": score, "problem": "p", "example": {"solution": "1"}, **change}
        for n, score in enumerate(scores)
    ]
    for row, score in zip(rows, tolerant, strict=False):
        row["tolerant"] = score
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


def test_what_a_gain_is_made_of_is_printed(tmp_path, capsys):
    write(tmp_path / "a", [0, 0, 0, 0], tolerant=[1, 1, 0, 0])
    write(tmp_path / "b", [1, 1, 1, 0], tolerant=[1, 1, 1, 0])
    main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")])
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    cells = [[cell.strip().partition(" [")[0] for cell in row[1:6]] for row in rows]
    assert cells == [
        ["strict", "4", "0.0", "75.0", "+75.0"],
        ["of it ability", "", "50.0", "75.0", "+25.0"],
        ["of it format", "", "", "", "+50.0"],
        ["released", "", "", "", "not scored"],
    ]


def test_evaluations_without_tolerant_scores_are_compared_and_said_not_to_have_them(tmp_path, capsys):
    write(tmp_path / "a", [0, 0], tolerant=[1, 1])
    write(tmp_path / "b", [1, 1])
    assert compare(tmp_path / "a", tmp_path / "b")["math_in"].tolerant is None
    main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert capsys.readouterr().out.count("not scored") == 2


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
