"""Whole numbers, as answers to counting questions."""

import re

from curr_reft.answers.markup import without_markup

_INTEGER = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?\.?")
_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    "twenty",
)


def parse_number(answer: str) -> int | None:
    """The integer that is the whole answer: digits (at most 18, also ``4.0``) or a word, zero to twenty."""
    text = without_markup(answer).casefold()
    digits = _INTEGER.fullmatch(text)
    if digits:
        return int(digits[1])
    word = text.removesuffix(".")
    return _WORDS.index(word) if word in _WORDS else None
