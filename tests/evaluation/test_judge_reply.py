"""Reading a judge's reply: scores that are whole and in range or one clear verdict, or what is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.evaluation.judge_reply import CORRECT, CRITERIA, SCORES_FORM, TOTAL, VERDICT_FORM, Reply

GOOD = dict(zip((*CRITERIA, TOTAL), (90, 80, 100, 70, 85), strict=True))


def with_changes(**changes: object) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(GOOD),
        json.dumps(GOOD, indent=2),
        f"```json\n{json.dumps(GOOD)}\n```",
        f"<think>maybe {with_changes(total=1)}</think>\n{json.dumps(GOOD)}",
        f"In {{x}} of \\frac{{1}}{{2}} I see:\n{json.dumps(GOOD)}\nThat is all.",
        f"{with_changes(accuracy=10, total=70)} No: {json.dumps(GOOD)}",
        with_changes(accuracy=90.0, total=85.0),
        with_changes(reasons=None, more=[{"accuracy": 3}]),
    ],
)
def test_the_last_object_counts_whatever_is_around_it(reply):
    found = SCORES_FORM.parse(reply)
    assert isinstance(found, Reply)
    assert found.scores == GOOD


def test_reasons_are_kept_as_far_as_there_are_any():
    found = SCORES_FORM.parse(with_changes(reasons={"accuracy": "right", "format_compliance": 3}))
    assert found.reasons == {"accuracy": "right"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (f"<think>{json.dumps(GOOD)}</think>", "empty"),
        ("It is good, I would say 95/100.", "no JSON object"),
        ("<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "an HTML page"),
        (json.dumps(GOOD)[:-1], "no JSON object"),
        ("[90, 80, 100, 70, 85]", "no JSON object"),
        ("{}", "accuracy: missing"),
        (json.dumps({name: GOOD[name] for name in CRITERIA}), "total: missing"),
        (with_changes(accuracy="95/100"), "accuracy: not a number"),
        (with_changes(accuracy="95"), "accuracy: not a number"),
        (with_changes(accuracy=True), "accuracy: not a number"),
        (with_changes(accuracy=None), "accuracy: not a number"),
        (with_changes(accuracy=[95]), "accuracy: not a number"),
        (with_changes(accuracy=101), "accuracy: not from 0 to 100"),
        (with_changes(accuracy=-1), "accuracy: not from 0 to 100"),
        (with_changes(total=float("nan")), "total: not from 0 to 100"),
        (with_changes(linguistic_fluency=float("inf")), "linguistic_fluency: not from 0 to 100"),
        (with_changes(total=69), "total: outside the span of the criteria"),
        (with_changes(total=101), "total: not from 0 to 100"),
        (
            with_changes(accuracy=20, format_compliance=20, total=100),
            "total: outside the span of the criteria",
        ),
        ('{"accuracy": 1, "accuracy": 99}', "a key is there twice"),
        ('{"accuracy": 1' + "0" * 5000 + "}", "no JSON object"),
        ('{"a":' * 3000, "no JSON object"),
        ("{" * 40_000, "over 16000 characters"),
    ],
)
def test_what_is_wrong_is_named(reply, reason):
    assert SCORES_FORM.parse(reply) == reason


_values = st.one_of(
    *(st.integers(-5, 105), st.floats(), st.booleans(), st.none(), st.text(max_size=5)),
    st.lists(st.integers(), max_size=2),
)
_documents = st.dictionaries(st.sampled_from([*CRITERIA, TOTAL, "reasons"]), _values).map(json.dumps)
_pieces = st.one_of(st.text(max_size=20), _documents, st.sampled_from(["{", "}", '"', "</think>", "```"]))


@given(st.lists(_pieces, max_size=6).map("".join))
def test_any_text_gives_whole_scores_or_a_reason(text):
    found = SCORES_FORM.parse(text)
    if isinstance(found, str):
        assert found
        return
    assert set(found.scores) == {*CRITERIA, TOTAL}
    assert all(0 <= score <= 100 for score in found.scores.values())
    criteria = [found.scores[name] for name in CRITERIA]
    assert min(criteria) <= found.scores[TOTAL] <= max(criteria)


@pytest.mark.parametrize(
    ("reply", "correct"),
    [
        ("Verdict: correct", 1),
        ("Verdict: incorrect", 0),
        ("  **Verdict:** Correct.\n", 1),
        ("VERDICT - incorrect", 0),
        ("They differ.\nVerdict: incorrect\nThe correct value is 5.", 0),
        ("<think>Verdict: correct?\nVerdict: correct</think>\n\nVerdict: incorrect", 0),
    ],
)
def test_a_verdict_is_one_clear_line(reply, correct):
    assert VERDICT_FORM.parse(reply) == Reply({CORRECT: correct}, {})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("correct", "no verdict"),
        ("The answer is correct.", "no verdict"),
        ("Verdict: correct\nVerdict: incorrect", "two verdicts"),
        ("Verdict: correct or Verdict: incorrect", "two verdicts"),
        ("Verdict: correct/incorrect", "no verdict"),
        ("Verdict: not correct", "no verdict"),
        ("Verdict: correctish", "no verdict"),
        ("Verdict: partly correct", "no verdict"),
        ("The verdict: correct", "no verdict"),
        ("Verdict:", "no verdict"),
        ("", "empty"),
        ("\n" * 10_000 + "x" + "verdict: " * 1_000, "no verdict"),
        ("\n" * 100_000 + "verdict: " * 50_000, "over 16000 characters"),
    ],
)
def test_what_is_no_clear_verdict_is_named(reply, reason):
    assert VERDICT_FORM.parse(reply) == reason


@given(
    st.lists(st.one_of(st.text(), st.sampled_from(["Verdict", ": ", "correct", "incorrect", "\n"]))).map(
        "".join
    )
)
def test_any_text_gives_a_verdict_or_a_reason(text):
    found = VERDICT_FORM.parse(text)
    assert found if isinstance(found, str) else found.scores[CORRECT] in (0, 1)
