"""Scores out of a judge's reply: all that were asked for, or what is wrong with them."""

import json
import math
from typing import Any, NamedTuple

from curr_reft.self_improvement.records import CRITERIA, TOTAL

_END_OF_THOUGHTS = "</think>"
# Several times what is asked for. It bounds the search for objects, which may start at every brace.
_MAX_CHARACTERS = 16_000
_PAGE = ("<!doctype", "<html")


class Reply(NamedTuple):
    """What a reply that can be read says."""

    scores: dict[str, float]
    """The criteria and `TOTAL`, each from 0 to 100."""
    reasons: dict[str, str]
    """By criterion, as far as they are given; the whole reply stays beside them."""


class _RepeatedKey:
    """An object that says one thing twice."""


def parse_reply(text: str) -> Reply | str:
    """The scores of a reply, or what is wrong with it in a few words. Never raises.

    The last JSON object counts; thoughts up to ``</think>``, code fences and other text do not. It holds each
    criterion and the total once, as a number from 0 to 100, and the total lies between the lowest and the
    highest criterion.
    """
    said = text.rpartition(_END_OF_THOUGHTS)[2].strip()
    if not said:
        return "empty"
    if len(said) > _MAX_CHARACTERS:
        return f"over {_MAX_CHARACTERS} characters"
    document = _last_object(said)
    if document is None:
        return "an HTML page" if said[:20].casefold().startswith(_PAGE) else "no JSON object"
    if isinstance(document, _RepeatedKey):
        return "a key is there twice"
    for name in (*CRITERIA, TOTAL):
        if fault := _fault(document, name):
            return f"{name}: {fault}"
    scores = {name: float(document[name]) for name in (*CRITERIA, TOTAL)}
    criteria = [scores[name] for name in CRITERIA]
    if not min(criteria) <= scores[TOTAL] <= max(criteria):
        return f"{TOTAL}: outside the span of the criteria"
    given = document.get("reasons")
    reasons = given if isinstance(given, dict) else {}
    return Reply(scores, {name: reasons[name] for name in CRITERIA if isinstance(reasons.get(name), str)})


def _fault(document: dict[str, Any], name: str) -> str | None:
    if name not in document:
        return "missing"
    value = document[name]
    # A boolean is an int, and 1 of 100 is not what it says.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not a number"
    # Said of what must hold, so that NaN is a fault.
    return None if math.isfinite(value) and 0 <= value <= 100 else "not from 0 to 100"


def _last_object(text: str) -> dict[str, Any] | _RepeatedKey | None:
    """The last object that is in no other one."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    found, start = None, text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        # A ValueError that is no JSONDecodeError comes from an integer of thousands of digits.
        except ValueError:
            end = start + 1
        except RecursionError:
            # Found at every brace again, this would take seconds.
            return None
        start = text.find("{", end)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _RepeatedKey:
    document = dict(pairs)
    return document if len(document) == len(pairs) else _RepeatedKey()
