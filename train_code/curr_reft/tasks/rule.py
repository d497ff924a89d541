"""A rule: how an answer is read, and what it earns against the gold. Reading is apart from scoring."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from curr_reft.answers.reading import Answer, Kind, Reading, read_strictly, read_tolerantly
from curr_reft.answers.region import extract_answer
from curr_reft.errors import InputError
from curr_reft.tasks.score import GoldError, Score

_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Rule:
    """How the answers to a row are scored."""

    kind: Kind
    """How a text is read as an answer."""
    score: Callable[[Any, Any], Score]
    """The score of an answer against the gold, both as `kind` reads them."""
    wanted: str
    """What an answer must be, as in "the answer is no …"."""
    example: str
    """What to write as a gold."""
    parse_gold: Callable[[str], Any] | None = None
    """How a gold is read, where that is not `kind`'s way; `None` or nothing for a text that is no gold."""

    def read_gold(self, text: str) -> Any:
        """The gold that a text holds, `None` or nothing without one."""
        return (self.parse_gold or self.kind.parse)(text)


@lru_cache(maxsize=256)
def find_gold(rules: tuple[Rule, ...], solution: str, row: str) -> tuple[Any, Rule]:
    """The gold in the last closed answer block of a solution, and the first rule that can read it.

    Read once for all completions of a group.

    Args:
        row: What kind of row it is, for the message.

    Raises:
        GoldError: when no rule can read it.
    """
    answer = extract_answer(solution)
    for rule in rules:
        gold = rule.read_gold(answer) if answer else None
        if gold is not None:
            return gold, rule
    shown = solution if len(solution) <= _LONGEST_SHOWN else f"{solution[: _LONGEST_SHOWN - 3]}..."
    raise GoldError(f"solution {shown!r} holds no gold for {row}: write {rules[-1].example}")


def score_completion(completion: str, gold: Any, rule: Rule, reading: Reading, problem: str = "") -> Score:
    """The score of the answer that a reading finds; what the strict one is paid for, the tolerant one is.

    Args:
        completion: A whole text; strictly read, its last closed answer block counts.
        reading: How the answer is found in it.
        problem: May list options, one of which a tolerantly read answer may spell out.
    """
    compare = partial(_compare, gold, rule)
    strictly = read_strictly(completion, rule.kind)
    strict = compare(strictly)
    if reading == "strict" or strict.reward == 1:
        return strict
    tolerantly = read_tolerantly(completion, rule.kind, problem)
    if tolerantly[:2] == strictly[:2]:
        return strict
    tolerant = compare(tolerantly)
    return tolerant if tolerant.reward >= strict.reward else strict


def _compare(gold: Any, rule: Rule, answer: Answer) -> Score:
    if answer.value is not None:
        result = rule.score(answer.value, gold)
        if not isinstance(result, Score):
            raise InputError(f"the rule for a {rule.wanted} returned {result!r:.60}; it must return a Score")
    elif answer.text is None:
        result = Score(0.0, answer.rule, None, gold)
    else:
        result = Score(0.0, f"the answer is no {rule.wanted}", answer.text, gold)
    return result._replace(found=answer.rule)
