"""What a problem lists itself: labels, or options as Geo170K (`A: 30`) and MathV360K (`(A) 30`) list them."""

import re
from itertools import pairwise
from typing import NamedTuple

from curr_reft.rewards.answers import parse_labels

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_SHORTEST_LIST = 3
_LONGEST_LABEL = 40
_LINE = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*)$", re.MULTILINE)


class ListedOptions(NamedTuple):
    """A problem taken apart: the text before its options, the options from A on, the text after them."""

    before: str
    options: tuple[str, ...]
    after: str


def listed_options(problem: str) -> ListedOptions | None:
    """The options of a problem, `None` unless two or more are listed, from A on without a gap or a repeat.

    No other text stands between them.
    """
    lines = list(_LINE.finditer(problem))
    letters = "".join(line[1] for line in lines)
    options = tuple(line[2].strip() for line in lines)
    between = "".join(problem[line.end() : after.start()] for line, after in pairwise(lines))
    if len(lines) < 2 or letters != LETTERS[: len(lines)] or between.strip():
        return None
    return ListedOptions(problem[: lines[0].start()].rstrip(), options, problem[lines[-1].end() :].strip())


def listed_labels(problem: str) -> frozenset[str]:
    """The labels after a problem's last colon, as in `Which of these are there: cat, dog, bus?`, or none."""
    found = parse_labels(re.split(r"[?.\n]", problem.rpartition(":")[2], maxsplit=1)[0])
    is_list = len(found) >= _SHORTEST_LIST and all(len(label) <= _LONGEST_LABEL for label in found)
    return found if is_list and ":" in problem else frozenset()
