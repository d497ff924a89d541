r"""The two readings of a completion: what it says strictly, and what a sensible person would say it says.

The strict one takes the last closed answer block, and nothing but the answer may stand in it. The tolerant
one looks further where there is no such block or more in it (`find_region`, `_found_within`), and trims what
leads up to the answer (`_TRIMS`). It never guesses: the text that it finds is compared by the very rules
that the strict one's is. Both are *ours*, take linear time and never raise.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from curr_reft.answers.boxes import parse_detection
from curr_reft.answers.chains import end_of_chain
from curr_reft.answers.counts import parse_number
from curr_reft.answers.expressions import plain_text, read_expression
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.last_box import last_box
from curr_reft.answers.markup import Boxed, boxed, fenced, value_before, without_markup
from curr_reft.answers.maths import Verdict, compare
from curr_reft.answers.options import option_texts, parse_options
from curr_reft.answers.region import extract_answer, find_region
from curr_reft.answers.verdicts import parse_yes_no

Reading = Literal["strict", "tolerant"]
READINGS: tuple[Reading, ...] = get_args(Reading)

_LONGEST_LABEL = 3
"""Words: a longer one is a sentence, in which an answer may be marked."""
# Possessive and bounded repeats: linear, wherever the search for it begins.
_LEAD_IN = re.compile(
    r"(?:(?:so|thus|hence|therefore)\b\s*+,?\s*+)?(?:the\s++)?(?:(?:final|correct|right|best)\s++){0,3}"
    r"(?:answer|option|choice)(?:\s++is(?:\s++option)?+\s*+:?|\s*+:)\s*+(?=\S)",
    re.IGNORECASE,
)
_END_OF_SENTENCE = re.compile(r"[.!?]\s+")


class Answer(NamedTuple):
    """What was read in a completion."""

    text: str | None
    """`None` where there is no answer."""
    value: Any
    """The text as the kind of answer that is asked for, `None` when it is no such answer."""
    rule: str
    """How the text was found."""


@dataclass(frozen=True)
class Kind:
    """A kind of answer: how a text is read as one, and whether what was read is all that the text says."""

    parse: Callable[[str], Any]
    """Gives `None` for what is no such answer."""
    is_whole: Callable[[Any], bool] = lambda value: True


def _are_labels(labels: frozenset[str]) -> bool:
    return not any(len(label.split()) > _LONGEST_LABEL or _LEAD_IN.match(label) for label in labels)


VERDICT, OPTIONS, DETECTION, COUNT = map(Kind, (parse_yes_no, parse_options, parse_detection, parse_number))
LABELS = Kind(lambda text: parse_labels(text) or None, _are_labels)
MATH = Kind(lambda text: text or None, lambda text: read_expression(text) is not None)


def read_strictly(completion: str, kind: Kind) -> Answer:
    """The answer in the last closed block, if nothing else stands in it."""
    text = extract_answer(completion)
    if text is None:
        return Answer(None, None, "no closed answer block")
    return Answer(text, kind.parse(text), "the last closed answer block")


def read_tolerantly(completion: str, kind: Kind, problem: str = "") -> Answer:
    """The answer that a sensible person would read; `problem` may list the options that it spells out."""
    text, rule = find_region(completion)
    answer = Answer(text, kind.parse(text), rule)
    if not _is_whole(answer, kind):
        for text, rule in _found_within(answer.text, kind):
            answer = Answer(text, kind.parse(text), f"{answer.rule}; {rule}")
            break
    for trim, rule in _TRIMS.items():
        if not _is_whole(answer, kind) and (trimmed := trim(answer.text, kind, problem)):
            answer = Answer(trimmed, kind.parse(trimmed), f"{answer.rule}; {rule}")
    if kind is DETECTION and answer.value:
        return answer._replace(value=tuple(dict.fromkeys(answer.value)))
    return answer


def _is_whole(answer: Answer, kind: Kind) -> bool:
    return answer.value is not None and kind.is_whole(answer.value)


def _found_within(text: str, kind: Kind) -> Iterator[tuple[str, str]]:
    """Where an answer is marked in a text, the most telling mark first."""
    if kind is DETECTION:
        for content in reversed(fenced(text)):
            if parse_detection(content):
                yield content, "the last fenced JSON with a box"
                break
    boxes = boxed(text)
    answer = last_box(text, boxes) if boxes else None
    if answer is not None:
        if _is_contradicted(text, boxes, kind):
            return
        yield answer, r"the last \boxed"
    last_line = without_markup(text.rpartition("\n")[2])
    starts = [0, *(end.end() for end in _END_OF_SENTENCE.finditer(last_line))]
    leads = [lead for start in starts if (lead := _LEAD_IN.match(last_line, start))]
    if leads:
        named = _named(last_line[leads[-1].end() :])
        if leads[-1].start() == 0 or _is_whole(Answer(named, kind.parse(named), ""), kind):
            yield named, "named as the answer in the last line"


def _is_contradicted(text: str, boxes: Sequence[Boxed], kind: Kind) -> bool:
    r"""Whether another answer stands alone before the one box (``34 \boxed{35}``), or is named behind it."""
    box = boxes[-1]
    before = value_before(text, box) if len(boxes) == 1 and kind is not LABELS else None
    if before is not None and _is_whole(Answer(before, kind.parse(before), ""), kind):
        return True
    lead = _LEAD_IN.search(text, box.closed)
    if lead is None:
        return False
    line = without_markup(text[lead.end() :].partition("\n")[0])
    named = _named(_END_OF_SENTENCE.split(line, maxsplit=1)[0])
    value = kind.parse(named)
    if not _is_whole(Answer(named, value, ""), kind):
        return False
    content = without_markup(box.content(text))
    if kind is MATH:
        return compare(named, content) is not Verdict.EQUAL
    return value != kind.parse(content)


def _named(text: str) -> str:
    """What stands behind lead-in words, without the dot that ends their sentence."""
    return text.strip().removesuffix(".").rstrip()


def _without_lead_in(text: str, kind: Kind, problem: str) -> str | None:
    """What follows ``The answer is`` and its like."""
    text = without_markup(text)
    lead_in = _LEAD_IN.match(text)
    return _named(text[lead_in.end() :]) if lead_in else None


def _end_of_chain(text: str, kind: Kind, problem: str) -> str | None:
    end = end_of_chain(text) if kind in (MATH, COUNT) else None
    # A count has no name.
    return end.rpartition("= ")[2] if end and kind is COUNT else end


def _option_spelt_out(text: str, kind: Kind, problem: str) -> str | None:
    """The letter of the one option of a problem whose text this is."""
    if kind is not OPTIONS or not problem:
        return None
    wanted = plain_text(text)
    letters = [letter for letter, option in option_texts(problem).items() if plain_text(option) == wanted]
    return letters[0] if len(letters) == 1 and wanted else None


_TRIMS = {
    _without_lead_in: "less its lead-in words",
    _end_of_chain: "the last member of a chain of equalities",
    _option_spelt_out: "the text of an option",
}
