"""Equality of math answers: one short expression each, compared as text and then by math-verify.

math-verify is generous: it takes the last number of a text, and reads letters and juxtaposed numbers as
products and sums (``no`` equals ``on``, ``1 2`` equals ``3``). An answer therefore reaches it only when it is
a short expression, or a list of them; of anything else the text must equal the gold's. The paper gives no
rule for open math: this one is *ours*.
"""

import enum
from collections.abc import Callable

from curr_reft.answers import symbolic
from curr_reft.answers.expressions import PERCENT, Expression, plain_text, read_expression
from curr_reft.answers.markup import LONGEST, boxed, value_before
from curr_reft.answers.processor_clock import HelperDiedError, OutOfTimeError, in_a_main_thread
from curr_reft.answers.units import Quantity

_MOST_COMPARISONS = 400
"""Of the members of two lists with each other."""


class Verdict(enum.Enum):
    """What comparing an answer with a gold came to; only `EQUAL` is worth anything."""

    EQUAL = "equal"
    DIFFERENT = "different"
    TIMEOUT = "math-verify ran out of time"
    ERROR = "math-verify failed"
    """On the pair, for example on a division by zero."""


def compare(answer: str, gold: str) -> Verdict:
    """Whether two math answers (texts inside the answer tags) are equal. Never raises.

    They are when their texts are (casefolded, white space collapsed, without a final ``.``, not empty), or
    when both are expressions and math-verify says so. An answer of a value and then a box is equal when both
    are; units must be the same where both have one, and so must names.
    """
    for part in _parts(answer):
        verdict = _compare_part(part, gold)
        if verdict is not Verdict.EQUAL:
            return verdict
    return Verdict.EQUAL


def compare_whole_texts(completion: str, solution: str) -> Verdict:
    """The released comparison: everything in both texts, by the library's defaults, the completion as gold.

    Thoughts and tags are read along: ``<answer>35</answer>`` holds no number, ``<think>$x=5$`` does. What
    math-verify cannot compare is `DIFFERENT`, and what takes over five seconds a step a `TIMEOUT`.
    """
    return _verdict(symbolic.same_whole_texts, completion, solution)


def _parts(answer: str) -> list[str]:
    """The one value of an answer, or two: one, and behind it one in a box."""
    boxes = boxed(answer) if len(answer) <= LONGEST else []
    before = value_before(answer, boxes[0]) if len(boxes) == 1 else None
    return [answer] if before is None else [before, boxes[0].content(answer)]


def _compare_part(answer: str, gold: str) -> Verdict:
    text = plain_text(answer)
    expressions = read_expression(gold, is_gold=True), read_expression(answer)
    units = [
        {unit for _, unit in expression.quantities} if expression else {None} for expression in expressions
    ]
    # Symbols of units differ by case, as in mW and MW.
    if text and text == plain_text(gold) and (units[0] == units[1] or None in units[0] | units[1]):
        return Verdict.EQUAL
    if None in expressions or _differ(*(expression.name for expression in expressions)):
        return Verdict.DIFFERENT
    return _verdict(_same_quantities, *expressions)


def _differ(gold: str | None, answer: str | None) -> bool:
    return gold is not None and answer is not None and gold != answer


def _verdict(compare: Callable[..., bool | None], *pair: object) -> Verdict:
    try:
        return in_a_main_thread(_caught, compare, *pair)
    except HelperDiedError:
        return Verdict.ERROR


def _caught(compare: Callable[..., bool | None], *pair: object) -> Verdict:
    try:
        equal = compare(*pair)
    except OutOfTimeError:
        return Verdict.TIMEOUT
    if equal is None:
        return Verdict.ERROR
    return Verdict.EQUAL if equal else Verdict.DIFFERENT


def _same_quantities(gold: Expression, answer: Expression) -> bool | None:
    """Whether two lists hold the same, in whatever order; `None` when math-verify fails on it."""
    wanted = list(gold.quantities)
    if len(wanted) != len(answer.quantities) or len(wanted) ** 2 > _MOST_COMPARISONS:
        return False
    for quantity in answer.quantities:
        verdicts = {}
        for place, each in enumerate(wanted):
            verdicts[place] = _same_quantity(each, quantity)
            if verdicts[place]:
                break
        else:
            return None if None in verdicts.values() else False
        del wanted[place]
    return True


def _same_quantity(gold: Quantity, answer: Quantity) -> bool | None:
    if _differ(gold.unit, answer.unit):
        return False
    found = symbolic.same(gold.value, answer.value)
    if found is False and PERCENT in (gold.unit, answer.unit) and gold.unit != answer.unit:
        values = (rf"\frac{{{value}}}{{100}}" if unit == PERCENT else value for value, unit in (gold, answer))
        return symbolic.same(*values)
    return found
