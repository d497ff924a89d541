r"""Chains of equalities (``AB = 2 * 9 = 18``), whose last member is what they come to. *Ours*."""

import re

from curr_reft.answers.expressions import read_expression
from curr_reft.answers.markup import without_markup
from curr_reft.answers.maths import Verdict, compare

_LONGEST_CHAIN = 200
"""Characters, as many as math-verify is ever given."""
_TITLE = re.compile(r"[A-Za-z]+(?: [A-Za-z]+){0,4}")
_NO_TITLE = re.compile(
    r"\b(?:not?|never|if|unless|or|either|neither|let|suppose|assum(?:e|ing)|given|when|maybe|perhaps|wrong|incorrect"
    r"|false|twice|double|half|squared|cubed|plus|minus|times|log|ln|lg|sqrt|sin|cos|tan|cot)\b",
    re.IGNORECASE,
)
"""Words that deny or suppose what follows them, or compute: ``twice x = 24``."""
_NAME = re.compile(r"(?:m?\s*(?:\\angle|∠)\s*)?[A-Za-z]{1,4}")
_SUBJECT = re.compile(
    r"(?:\\?(?:sin|cos|tan|cot)\s*)?(?:m?\s*(?:\\angle|\\triangle|[∠△])\s*)?(?:[A-Za-z]{1,4}|\\[a-z]+|[\u0391-\u03c9])"
    r"(?:_(?:\w|\{[^{}]*\}))?(?:\([^()]*\))?"
)
_VARIABLE = re.compile(r"[A-Z]+|[a-z\u0391-\u03c9]")
_LOWER_CASE_WORD = re.compile(r"[^\W\d_][a-z]|[a-z][^\W\d_]")
# In `x = 3 y = 4`, and in `x = 3` over `y = 4`, another equation begins.
_ANOTHER_BEGINS = re.compile(r"\n|\s[A-Za-z]{1,4}\Z")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def end_of_chain(text: str) -> str | None:
    """The last member of ``a = b = c``, under its name; `None` if it is no chain, or its numbers differ.

    The first member may be a title of some words (``The area = 24``); of the others none may be prose. With a
    single variable it must be a name (``AB``, ``S_1``, ``sin A``): ``2x = 24`` leaves the answer to be found.
    """
    if len(text) > _LONGEST_CHAIN or "=" not in text:
        return None
    first, *others = [member.strip() for member in without_markup(text).removesuffix(".").split("=")]
    last = others.pop()
    is_title = _TITLE.fullmatch(first) and not _NO_TITLE.search(first)
    is_subject = is_title or _SUBJECT.fullmatch(first)
    if not is_subject and len(_variables(first)) == 1:
        return None
    members = others if is_subject else [first, *others]
    if "\n" in last or any(map(_ANOTHER_BEGINS.search, others)) or not all(map(_is_formula, members)):
        return None
    if _single_value(last) is None:
        return None
    if any(compare(member, last) is not Verdict.EQUAL for member in members if _is_number(member)):
        return None
    return f"{first} = {last}" if _NAME.fullmatch(first) else last


def _is_formula(member: str) -> bool:
    """Whether a member is an expression, or one with names of segments (``2 * AB``); prose is none."""
    if _single_value(member) is not None:
        return True
    is_prose = _LOWER_CASE_WORD.search(_COMMAND.sub(" ", member)) or "," in member
    return bool(_variables(member)) and not is_prose


def _is_number(member: str) -> bool:
    return _single_value(member) is not None and not _variables(member)


def _variables(member: str) -> set[str]:
    """The names in a member that are no unit: single small letters, and runs of capitals."""
    return set(_VARIABLE.findall(_COMMAND.sub(" ", _single_value(member) or member)))


def _single_value(member: str) -> str | None:
    """The one value of a member in LaTeX, without its unit; `None` when it is another text, or a list."""
    expression = read_expression(member)
    return expression.latex() if expression and len(expression.quantities) == 1 else None
