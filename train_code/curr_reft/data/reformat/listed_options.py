"""The labels that a problem lists itself."""

import re

from curr_reft.answers.labels import parse_labels

_SHORTEST_LIST = 3
_LONGEST_LABEL = 40


def listed_labels(problem: str) -> frozenset[str]:
    """The labels after a problem's last colon, as in `Which of these are there: cat, dog, bus?`, or none."""
    found = parse_labels(re.split(r"[?.\n]", problem.rpartition(":")[2], maxsplit=1)[0])
    is_list = len(found) >= _SHORTEST_LIST and all(len(label) <= _LONGEST_LABEL for label in found)
    return found if is_list and ":" in problem else frozenset()
