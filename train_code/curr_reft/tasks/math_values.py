"""When the reward tells two math answers apart, without asking math-verify more often than needed."""

import math
import re
from functools import lru_cache

from curr_reft.answers import maths
from curr_reft.answers.expressions import to_latex

# As many digits as are safe in a float.
_DIGITS = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
# A sign after an operand is an operator.
NUMBER = re.compile(rf"(?:(?<![\w)}}\]])[+-])?{_DIGITS}")
"""A number in a math answer."""
_SIMPLE_VALUE = re.compile(
    rf"([+-]?)(?=[0-9\\])(?:({_DIGITS})|\\d?frac{{({_DIGITS})}}{{({_DIGITS})}})?"
    rf"(?:\\sqrt{{({_DIGITS})}})?(\\pi)?(?:/({_DIGITS}))?"
)
_FAR_APART = 1e-3
"""Far beyond the six decimals to which the reward compares numbers."""


@lru_cache(maxsize=1 << 16)
def simple_value(text: str) -> float | None:
    """The value of a number, a fraction, a root, pi, or a product of them, `None` of other expressions."""
    match = _SIMPLE_VALUE.fullmatch((to_latex(text) or "").replace(" ", ""))
    if match is None:
        return None
    sign, factor, dividend, divisor, root, pi, last_divisor = match.groups()
    above = float(factor or 1) * float(dividend or 1) * float(root or 1) ** 0.5 * (math.pi if pi else 1)
    below = float(divisor or 1) * float(last_divisor or 1)
    return None if below == 0 else float(f"{sign}1") * above / below


@lru_cache(maxsize=1 << 16)
def is_comparable(text: str) -> bool:
    """Whether the reward comes to a verdict on a math answer: not on ``1/0``, and not on ``9^{9^{9^9}}``."""
    decided = (maths.Verdict.EQUAL, maths.Verdict.DIFFERENT)
    return simple_value(text) is not None or maths.compare("1", text) in decided


@lru_cache(maxsize=1 << 16)
def differ(first: str, second: str) -> bool:
    """Whether the reward tells two math answers apart, whichever of them is the gold."""
    values = simple_value(first), simple_value(second)
    # math-verify would say the same, in a fiftieth of a second.
    if None not in values and abs(values[0] - values[1]) > _FAR_APART:
        return True
    verdicts = (maths.compare(*pair) for pair in ((first, second), (second, first)))
    return all(verdict is maths.Verdict.DIFFERENT for verdict in verdicts)
