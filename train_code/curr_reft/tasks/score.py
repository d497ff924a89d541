"""What scoring a completion gives: the reward, and the reason for it."""

from typing import Any, NamedTuple

from curr_reft.errors import InputError

MATH_TIMEOUT = "math_timeout"
BAD_GOLD = "bad_gold"
RELEASED_CRASH = "released_crash"


class GoldError(InputError):
    """A row's solution does not parse under its stage and task, or the task is unknown."""


class Score(NamedTuple):
    """A reward, the rule that gave it, and what the rule read in answer and gold.

    `incident` names what a log should count: math-verify ran out of time (the answer counts as wrong), a gold
    that cannot be read, or a row on which the released loop stops with an exception. Strict scores of boxes
    and labels are all or nothing; `overlap` is the IoU behind them. `found` is how the answer was found.
    """

    reward: float
    rule: str
    answer: Any = None
    gold: Any = None
    incident: str | None = None
    overlap: float | None = None
    found: str | None = None

    def explanation(self) -> dict[str, Any]:
        """How the answer was found, rule, answer and gold as JSON holds them."""
        told = {"rule": self.rule, "answer": _plain(self.answer), "gold": _plain(self.gold)}
        return told if self.found is None else {"found": self.found, **told}


def incidents(scores: dict[str, Score]) -> list[str]:
    """The incidents of a row's scores, each with the name of its score."""
    return [f"{name}, {score.incident}" for name, score in scores.items() if score.incident]


def _plain(value: Any) -> Any:
    """The value as JSON holds it; the released code reads Python literals, which may hold anything."""
    if isinstance(value, set | frozenset):
        return sorted(item if isinstance(item, str) else repr(item) for item in value)
    return value
