"""Reading a judge's reply: scores that are whole and in range, or what is wrong."""

import json

import pytest
from curr_reft.self_improvement.judge_reply import Reply, parse_reply
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.self_improvement.records import CRITERIA, TOTAL

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
    found = parse_reply(reply)
    assert isinstance(found, Reply)
    assert found.scores == GOOD


def test_reasons_are_kept_as_far_as_there_are_any():
    found = parse_reply(with_changes(reasons={"accuracy": "right", "format_compliance": 3}))
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
    assert parse_reply(reply) == reason


_values = st.one_of(
    *(st.integers(-5, 105), st.floats(), st.booleans(), st.none(), st.text(max_size=5)),
    st.lists(st.integers(), max_size=2),
)
_documents = st.dictionaries(st.sampled_from([*CRITERIA, TOTAL, "reasons"]), _values).map(json.dumps)
_pieces = st.one_of(st.text(max_size=20), _documents, st.sampled_from(["{", "}", '"', "</think>", "```"]))


@given(st.lists(_pieces, max_size=6).map("".join))
def test_any_text_gives_whole_scores_or_a_reason(text):
    found = parse_reply(text)
    if isinstance(found, str):
        assert found
        return
    assert set(found.scores) == {*CRITERIA, TOTAL}
    assert all(0 <= score <= 100 for score in found.scores.values())
    criteria = [found.scores[name] for name in CRITERIA]
    assert min(criteria) <= found.scores[TOTAL] <= max(criteria)
