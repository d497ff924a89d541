"""Equality of LaTeX expressions by math-verify, under a clock of processor time; call it in a main thread.

math-verify compares numbers to six decimals, which makes 6.6e-34 equal to 1.6e-19: numbers are compared here,
to a relative precision. What it makes of whole texts, by its own defaults, is what the release asks it.
"""

import functools
import itertools
import logging
import re
from fractions import Fraction
from typing import Any

from curr_reft.answers.processor_clock import OutOfTimeError, processor_seconds

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1
"""Of processor time, for each step: reading gold or answer, comparing them."""
_RELEASED_TIMEOUT_SECONDS = 5

_PRECISION = 2e-6
"""Relative, so that 0.333333 is 1/3."""
_DIGITS = 30
_PLAIN_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{1,40})?|\.\d{1,40})", re.ASCII)
_LARGEST_WHOLE = 10**20
"""Of those that come of computing with 30 digits."""


@functools.cache
def start() -> None:
    """Import math-verify and use it once. That takes seconds, which no answer should have on its clock."""
    # Both loggers say that there is no timeout: this project has its own.
    loggers = [logging.getLogger(f"math_verify.{name}") for name in ("parser", "grader")]
    for each in loggers:
        each.disabled = True
    from math_verify import parse, verify

    verify(*(parse("$1$", parsing_timeout=None) for _ in range(2)), timeout_seconds=None)
    for each in loggers:
        each.disabled = False


def same(gold: str, answer: str) -> bool | None:
    """Whether two expressions are the same, gold first; `None` when math-verify fails on them.

    Raises:
        OutOfTimeError: when a step takes longer than its clock allows.
    """
    numbers = _plain_number(gold), _plain_number(answer)
    if None not in numbers:
        return _agree(*numbers)
    # Imported on first use: math-verify brings sympy, five seconds that most commands need not pay.
    start()
    try:
        expressions = _expression(gold), _expression(answer)
        if any(expression is None for expression in expressions):
            return False
        with processor_seconds(TIMEOUT_SECONDS):
            return _same_expressions(*expressions)
    except Exception as error:  # sympy's own errors share no base class
        logger.debug("math-verify failed on gold %r and answer %r: %r", gold, answer, error)
        return None


def same_whole_texts(first: str, second: str) -> bool:
    """Whether math-verify, by its defaults, finds something equal in two texts.

    Raises:
        OutOfTimeError: when it has not, and a step took longer than five seconds of processor time.
    """
    start()
    from math_verify import verify

    timeout = None
    for found, wanted in itertools.product(_expressions(first), _expressions(second)):
        try:
            with processor_seconds(_RELEASED_TIMEOUT_SECONDS):
                if verify(found, wanted, timeout_seconds=None, raise_on_error=True):
                    return True
        except OutOfTimeError as error:
            timeout = error
        except Exception as error:  # sympy's own errors share no base class
            logger.debug("math-verify failed on %r and %r: %r", first, second, error)
    if timeout:
        raise timeout
    return False


def _same_expressions(gold: Any, answer: Any) -> bool:
    from math_verify import verify
    from sympy import Interval, Tuple

    numbers = _number(gold), _number(answer)
    if None not in numbers:
        return _agree(*numbers)
    for kind in (Tuple, Interval):
        if isinstance(gold, kind) and isinstance(answer, kind):
            pairs = zip(gold.args, answer.args, strict=False)
            return len(gold.args) == len(answer.args) and all(itertools.starmap(_same_parts, pairs))
    return verify(gold, answer, timeout_seconds=None, raise_on_error=True)


def _same_parts(gold: Any, answer: Any) -> bool:
    return gold == answer or _same_expressions(gold, answer)


def _plain_number(latex: str) -> Fraction | None:
    """The number that is written in digits and nothing else, exactly."""
    return Fraction(latex) if _PLAIN_NUMBER.fullmatch(latex) else None


def _number(expression: Any) -> Any | None:
    """The value of an expression that is a finite number, to 30 digits."""
    if getattr(expression, "is_number", False):
        value = expression.evalf(_DIGITS)
        return value if value.is_finite else None
    return None


def _agree(first: Any, second: Any) -> bool:
    """Whether two numbers are equal: whole ones exactly, others to a relative precision."""
    if _is_whole(first) and _is_whole(second):
        return first == second
    # sympy has truth values of its own, which are not `False`.
    return bool(abs(first - second) <= _PRECISION * max(abs(first), abs(second)))


def _is_whole(number: Any) -> bool:
    if isinstance(number, Fraction):
        return number.denominator == 1
    return bool(number.is_real) and abs(number) < _LARGEST_WHOLE and number == int(number)


@functools.lru_cache(maxsize=1024)
def _expression(latex: str) -> Any | None:
    """The sympy expression of bare LaTeX, or `None`. A timeout raises, and so is not cached."""
    from math_verify import LatexExtractionConfig, LatexNormalizationConfig, parse

    # Its own unit list holds letters such as c, and would read 2c as 2. Without first_match it would fall
    # back to a part of an expression it cannot read.
    normalization = LatexNormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    with processor_seconds(TIMEOUT_SECONDS):
        found = parse(
            f"${latex}$",
            [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)],
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
            raise_on_error=True,
        )
    return found[0] if found else None


@functools.lru_cache(maxsize=64)
def _expressions(text: str) -> list[Any]:
    """What math-verify's defaults find in a text, which may be nothing. A timeout raises, uncached."""
    from math_verify import parse

    try:
        with processor_seconds(_RELEASED_TIMEOUT_SECONDS):
            return parse(text, parsing_timeout=None, raise_on_error=True)
    except Exception as error:  # sympy's own errors share no base class
        logger.debug("math-verify cannot read %r: %r", text, error)
        return []
