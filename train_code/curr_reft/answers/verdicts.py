"""Answers of the judge stage."""

from curr_reft.answers.markup import without_markup
from curr_reft.answers.words import bare

_VERDICTS = {"yes": True, "true": True, "no": False, "false": False}


def parse_yes_no(answer: str) -> bool | None:
    """The verdict when the whole answer is yes/true or no/false, else `None` (``yes or no`` is neither)."""
    return _VERDICTS.get(bare(without_markup(answer), final=".!"))
