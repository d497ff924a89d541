"""Does the thinking lead to the answer given? A rule that looks at no gold.

It reads the text between the first ``<think>`` and the next ``</think>``, and the last answer block. What the
thoughts *state* depends on what the answer is:

- a verdict, or option letters (a math answer that is one letter as well): a conclusion that is
  nothing else, where a *conclusion* is what follows the last "is", "are", "so", "answer", ":", "=" and their
  like (`_LEAD`) in a sentence, or a whole sentence without one. Verdicts end at commas too.
- boxes: every ``[x1, y1, x2, y2]``, equal in all four numbers; for `No Objects`, a conclusion of these words.
- labels: a conclusion that is a list of labels which all stand in the question. Without one, the answer's
  labels are stated when all of them stand in the thoughts as words.
- a number: every number in digits. One in words ("three") can support the answer and not contradict it, for
  "one" is often no number.
- any other answer: the answer's text itself, of up to 200 characters; nothing contradicts it.

100 when the answer is among what is stated; 0 when only others are, and when there is no answer of the kind
asked for; 50 when nothing of the kind is stated, or there are no thoughts. This is coarse: the steps between
are not followed, and a value that is mentioned in passing counts as stated.
"""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

from curr_reft.answers.boxes import is_no_objects, parse_boxes
from curr_reft.answers.counts import parse_number
from curr_reft.answers.expressions import to_latex
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.options import parse_options
from curr_reft.answers.reading import DETECTION, LABELS, MATH, OPTIONS, VERDICT
from curr_reft.answers.region import extract_answer
from curr_reft.answers.verdicts import parse_yes_no
from curr_reft.boxes import boxes_in_text
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task

_SENTENCE_END = re.compile(r"[.!?;]+(?:\s+|$)|\n")
_LEAD = re.compile(
    r".*(?:[:=]|\b(?:is|are|be|see|shows?|contains?|has|have|so|thus|hence|therefore|answer|options?|choose|pick)\b)",
    re.IGNORECASE,
)
# Longer runs of digits are no quantity, and a point or letter before makes it a part of something else.
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,18}(?!\d)(?:\.\d{1,18}(?!\d))?")
_LONGEST_LABEL, _LONGEST_TEXT, _SHOWN = 4, 200, 10


class Consistency(NamedTuple):
    """A score from 0 to 100, the rule that gave it, and what that compared."""

    score: float
    rule: str
    answer: Any = None
    stated: Any = None


def score_consistency(stage: str, task: str, problem: str, completion: str) -> Consistency:
    """Whether the thoughts of a completion state its answer (see above). Never raises; linear time."""
    answer = extract_answer(completion)
    if not answer:
        return Consistency(0, "no answer")
    _, opened, rest = completion.partition("<think>")
    thoughts, closed, _ = rest.partition("</think>")
    if not (opened and closed and thoughts.strip()):
        return Consistency(50, "no thoughts", answer)
    kinds = {"verdict": VERDICT, "letters": OPTIONS}
    kind = kinds.get(STAGES[stage].answer) or find_task(task).rules[-1].kind
    if kind is MATH and len(parse_options(answer) or ()) == 1:
        kind = OPTIONS
    return _BY_KIND.get(kind, _value)(answer, thoughts, problem)


def conclusions(thoughts: str) -> list[str]:
    """What each sentence comes to, in their order."""
    sentences = (sentence.strip() for sentence in _SENTENCE_END.split(thoughts))
    # Matched at the start alone: searching on would take quadratic time where there is no lead.
    leads = ((sentence, _LEAD.match(sentence)) for sentence in sentences if sentence)
    return [sentence[lead.end() :].strip() if lead else sentence for sentence, lead in leads]


def _verdict(answer: str, thoughts: str, _: str) -> Consistency:
    parts = chain.from_iterable(sentence.split(",") for sentence in _SENTENCE_END.split(thoughts))
    found = (parse_yes_no(part) for part in chain.from_iterable(map(conclusions, parts)))
    return _compare("a verdict", parse_yes_no(answer), {verdict for verdict in found if verdict is not None})


def _options(answer: str, thoughts: str, _: str) -> Consistency:
    return _compare("options", parse_options(answer), set(map(parse_options, conclusions(thoughts))) - {None})


def _boxes(answer: str, thoughts: str, _: str) -> Consistency:
    stated = set(boxes_in_text(thoughts))
    boxes = parse_boxes(answer)
    if is_no_objects(answer):
        denied = any(map(is_no_objects, conclusions(thoughts)))
        return _compare("no objects", answer, {answer} if denied else stated)
    if not boxes:
        return _compare("boxes", None, stated)
    missing = [box for box in boxes if box not in stated]
    return _compare("boxes", missing[0] if missing else boxes[0], stated)


def _labels(answer: str, thoughts: str, problem: str) -> Consistency:
    labels = parse_labels(answer)
    offered = _phrases(problem)
    lists = {found for text in conclusions(thoughts) if (found := parse_labels(text)) and _in(found, offered)}
    if not lists and labels and _in(labels, _phrases(thoughts)):
        return Consistency(100, "all labels of the answer stand in the thoughts", sorted(labels))
    return _compare("labels", labels or None, lists)


def _value(answer: str, thoughts: str, _: str) -> Consistency:
    number = _number(answer)
    if number is not None:
        words = set(re.findall(r"[a-z]+", thoughts.casefold()))
        if number in set(map(parse_number, words)):
            return Consistency(100, "the thoughts state the number as a word", number)
        return _compare("a number", number, set(map(float, _NUMBER.findall(thoughts))))
    text = _plain(answer)
    stated = len(text) <= _LONGEST_TEXT and text in _plain(thoughts)
    return _compare("the answer's text", text, {text} if stated else set())


def _compare(kind: str, answer: Any, stated: set[Any]) -> Consistency:
    """The score of an answer, `None` for one of another kind, against what the thoughts state of its kind."""
    shown = sorted(map(_plain_value, stated), key=str)[:_SHOWN]
    if answer is None:
        return Consistency(0, f"{kind}: the answer is none", stated=shown)
    if not stated:
        return Consistency(50, f"{kind}: the thoughts state none", _plain_value(answer))
    if answer in stated:
        return Consistency(100, f"{kind}: the thoughts state the answer", _plain_value(answer), shown)
    return Consistency(0, f"{kind}: the thoughts state only others", _plain_value(answer), shown)


def _number(answer: str) -> float | None:
    """The number that is the whole answer, degrees and units aside."""
    text = (to_latex(answer) or "").replace(r"^\circ", "").strip()
    whole = _NUMBER.fullmatch(text)
    return float(text) if whole else parse_number(answer)


def _in(labels: Iterable[str], phrases: set[str]) -> bool:
    return all(" ".join(re.findall(r"\w+", label)) in phrases for label in labels)


def _phrases(text: str) -> set[str]:
    """Every run of up to `_LONGEST_LABEL` words of a text."""
    words = re.findall(r"\w+", text.casefold())
    lengths = range(1, _LONGEST_LABEL + 1)
    return {" ".join(words[start : start + n]) for n in lengths for start in range(len(words) - n + 1)}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _plain_value(value: Any) -> Any:
    """As JSON holds it."""
    return sorted(value) if isinstance(value, frozenset) else value


_BY_KIND = {VERDICT: _verdict, OPTIONS: _options, DETECTION: _boxes, LABELS: _labels}
