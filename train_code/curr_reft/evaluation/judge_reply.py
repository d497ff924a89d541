"""A judge's reply, read: all that was asked for, or what is wrong with it.

Two forms are asked for: scores from 0 to 100 as one JSON object, and a verdict on a line of its own.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

TOTAL = "total"
CRITERIA = ("accuracy", "logical_consistency", "format_compliance", "linguistic_fluency")
"""What a judge of examples scores, each from 0 to 100 (paper, section 3.3)."""
CORRECT = "correct"
"""What a verdict scores: 1 or 0."""

_END_OF_THOUGHTS = "</think>"
# Several times what is asked for. It bounds the search for objects, which may start at every brace.
_MAX_CHARACTERS = 16_000
_PAGE = ("<!doctype", "<html")
_VERDICTS = {"correct": 1.0, "incorrect": 0.0}
_MENTION = re.compile(r"\bverdict[^\w\n]+(correct|incorrect)\b")
_LINE = re.compile(r"^[^\w\n]*verdict[^\w\n]+(?:correct|incorrect)[^\w\n]*$", re.MULTILINE)


class Reply(NamedTuple):
    """What a reply that can be read says."""

    scores: dict[str, float]
    reasons: dict[str, str]
    """By criterion, as far as they are given; the whole reply stays beside them."""


@dataclass(frozen=True)
class ReplyForm:
    """What a judge is asked to reply with."""

    names: tuple[str, ...]
    """What it scores."""
    read: Callable[[str], Reply | str]
    """Gives what is said, or what is wrong with it in a few words."""

    def parse(self, text: str) -> Reply | str:
        """The scores of a reply, or what is wrong with it. Thoughts up to ``</think>`` do not count.

        Never raises.
        """
        said = text.rpartition(_END_OF_THOUGHTS)[2].strip()
        if not said:
            return "empty"
        if len(said) > _MAX_CHARACTERS:
            return f"over {_MAX_CHARACTERS} characters"
        return self.read(said)


def _verdict(said: str) -> Reply | str:
    """One verdict, on a line of its own, marks and letter case aside."""
    text = said.casefold()
    words = set(_MENTION.findall(text))
    if len(words) > 1:
        return "two verdicts"
    return Reply({CORRECT: _VERDICTS[words.pop()]}, {}) if _LINE.search(text) else "no verdict"


def _scores(said: str) -> Reply | str:
    """The last JSON object, whatever code fences and text are around it.

    It holds each criterion and the total once, as a number from 0 to 100, and the total lies between the
    lowest and the highest criterion.
    """
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


VERDICT_FORM = ReplyForm((CORRECT,), _verdict)
SCORES_FORM = ReplyForm((*CRITERIA, TOTAL), _scores)


class _RepeatedKey:
    """An object that says one thing twice."""


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
