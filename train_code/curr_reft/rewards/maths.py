"""Equality of math answers: one short expression each, compared as text and then by math-verify.

math-verify is generous: it takes the last number of a text, and reads letters and juxtaposed numbers as
products and sums (``no`` equals ``on``, ``1 2`` equals ``3``). An answer therefore reaches it only when it is
one short expression; of anything else the text must equal the gold's. The paper gives no rule for open math:
this one is *ours*.
"""

import atexit
import concurrent.futures
import enum
import functools
import itertools
import logging
import multiprocessing
import re
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

_LOG = logging.getLogger(__name__)

_MAX_CHARACTERS = 200
_TIMEOUT_SECONDS = 1

_SYMBOLS = {
    "°": r"^\circ ",
    r"\degree": r"^\circ ",
    "²": "^{2}",
    "³": "^{3}",
    "×": r"\times ",  # noqa: RUF001
    "÷": r"\div ",
    "−": "-",  # noqa: RUF001
    "½": r"\frac{1}{2}",
    "∠": r"\angle ",
    "π": r"\pi ",
    "√": r"\sqrt ",
}
_DELIMITERS = (r"\(", r"\[")
_SPACES = re.compile(r"(?<!\\)\\[,;:! ]|\\q?quad\b|~")
_ROOT_SIGN = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_ROOT_FUNCTION = re.compile(r"\\?(?<![A-Za-z])sqrt\s*\(([^()]*)\)")
_FUNCTION = re.compile(r"(?<![\\A-Za-z])(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|lg|pi)(?![A-Za-z])")
_NAME = re.compile(r"^(?:\\angle\s*[A-Za-z]+|[A-Za-z]{1,4})\s*=\s*")
_UNIT_WORD = (
    r"(?:(?:square|sq|cubic)\s+)?"
    r"(?:[mcdk]m|(?<=[\s{])m|(?:milli|centi|deci|kilo)?met(?:er|re)s?|in|inch|inches|ft|foot|feet|yd|yards?|miles?"
    r"|deg|degrees?|rad|radians?|units?)"
)
_UNIT = re.compile(
    rf"(?<=[\d)}}\s])\s*(?:{_UNIT_WORD}|\\(?:text|mathrm)\s*{{\s*{_UNIT_WORD}\s*}})"
    r"(?:\s*\^\s*(?:[23]|\{[23]\}))?$"
)
_VALUE = re.compile(r"\s*[+-]?(?:\\(?:d?frac|sqrt|pi|times|cdot|left|right)|[\d.,/^{}()\s])*+")
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z]+\}|\\[A-Za-z]+")
_ADJACENT_LETTERS = re.compile(r"[^\W\d_]{2}")
_ADJACENT_NUMBERS = re.compile(r"[\d.]\s+[\d.]")


class Verdict(enum.Enum):
    """What comparing an answer with a gold came to; only `EQUAL` is worth anything."""

    EQUAL = "equal"
    DIFFERENT = "different"
    TIMEOUT = "math-verify ran out of time"
    ERROR = "math-verify failed"
    """On the pair, for example on a division by zero."""


def compare(answer: str, gold: str) -> Verdict:
    """Whether two math answers (texts inside the answer tags) are equal. Never raises.

    Texts are equal when they are (casefolded, white space collapsed, without a final ``.``, not empty);
    otherwise both must be expressions and math-verify must say so, in a second per step.
    """
    text = _plain(answer)
    if text and text == _plain(gold):
        return Verdict.EQUAL
    sources = to_latex(gold), to_latex(answer)
    if None in sources:
        return Verdict.DIFFERENT
    return _in_a_main_thread(_verify, *sources)


def compare_whole_texts(completion: str, solution: str) -> Verdict:
    """The released comparison: everything in both texts, by the library's defaults, the completion as gold.

    Thoughts and tags are read along: ``<answer>35</answer>`` holds no number, ``<think>$x=5$`` does. What
    math-verify cannot compare is `DIFFERENT`, and what takes over five seconds a step a `TIMEOUT`.
    """
    return _in_a_main_thread(_verify_whole_texts, completion, solution)


def to_latex(answer: str) -> str | None:
    r"""The one expression of an answer as bare LaTeX, `None` when only its text counts.

    Delimiters (``$``, ``\(``, ``\[``, ``\boxed``), one leading ``name =``, a trailing unit and a final ``.``
    go; the symbols people type (``°``, ``√``, ``π`` …) become commands.
    """
    # The length is looked at before anything is copied: the rest may then be as slow as 200 characters allow.
    stripped = answer.strip()
    if len(stripped) > _MAX_CHARACTERS:
        return None
    text = stripped.removesuffix(".").replace(r"\$", "").replace("$$", "$")
    if text.count("$") > 2 or text.count(r"\boxed") > 1 or any(text.count(mark) > 1 for mark in _DELIMITERS):
        return None
    for mark in ("$", *_DELIMITERS, r"\)", r"\]"):
        text = text.replace(mark, " ")
    text = _ROOT_SIGN.sub(r"\\sqrt{\1}", text)
    for symbol, latex in _SYMBOLS.items():
        text = text.replace(symbol, latex)
    text = _SPACES.sub(" ", _unboxed(text))
    text = _FUNCTION.sub(lambda match: f"\\{match[0]} ", text)
    text = _ROOT_FUNCTION.sub(r"\\sqrt{\1}", text)
    text = " ".join(text.split()).removesuffix(".")
    text = _without_unit(_NAME.sub("", text)).strip()
    if not text or "=" in text or _ADJACENT_NUMBERS.search(text):
        return None
    return None if _ADJACENT_LETTERS.search(_COMMAND.sub(" ", text)) else text


def _without_unit(text: str) -> str:
    """The text without its trailing unit, if what stands before it is one value: ``n + m`` has no unit."""
    unit = _UNIT.search(text)
    return text[: unit.start()] if unit and _VALUE.fullmatch(text, 0, unit.start()) else text


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def _unboxed(text: str) -> str:
    r"""The text with the content of its first ``\boxed{…}`` in place of it, set apart by spaces."""
    start = text.find(r"\boxed{")
    if start < 0:
        return text
    depth = 0
    for position in range(start + len(r"\boxed"), len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            content = text[start + len(r"\boxed{") : position]
            return f"{text[:start]} {content} {text[position + 1 :]}"
    return text


@functools.cache
def _start_math_verify() -> None:
    """Import it and use it once. That takes seconds, which no answer should have on its clock."""
    from math_verify import parse, verify

    verify(*(parse("$1$", parsing_timeout=60) for _ in range(2)), timeout_seconds=60)


def _verify(gold: str, answer: str) -> Verdict:
    # Imported on first use: math-verify brings sympy, five seconds that most commands need not pay.
    _start_math_verify()
    from math_verify import verify
    from math_verify.errors import TimeoutException

    try:
        expressions = _expression(gold), _expression(answer)
        if any(expression is None for expression in expressions):
            return Verdict.DIFFERENT
        equal = verify(*expressions, timeout_seconds=_TIMEOUT_SECONDS, raise_on_error=True)
    except TimeoutException:
        return Verdict.TIMEOUT
    except Exception as error:  # sympy's own errors share no base class
        _LOG.debug("math-verify failed on gold %r and answer %r: %r", gold, answer, error)
        return Verdict.ERROR
    return Verdict.EQUAL if equal else Verdict.DIFFERENT


@functools.lru_cache(maxsize=1024)
def _expression(latex: str) -> Any | None:
    """The sympy expression of bare LaTeX, or `None`. A timeout raises, and so is not cached."""
    from math_verify import LatexExtractionConfig, LatexNormalizationConfig, parse

    # Its own unit list holds letters such as c, and would read 2c as 2. Without first_match it would fall
    # back to a part of an expression it cannot read.
    normalization = LatexNormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    found = parse(
        f"${latex}$",
        [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=_TIMEOUT_SECONDS,
        raise_on_error=True,
    )
    return found[0] if found else None


@functools.lru_cache(maxsize=64)
def _expressions(text: str) -> list[Any]:
    """What math-verify's defaults find in a text, which may be nothing. A timeout raises, uncached."""
    from math_verify import parse

    try:
        return parse(text, raise_on_error=True)
    except Exception as error:  # sympy's own errors share no base class
        _LOG.debug("math-verify cannot read %r: %r", text, error)
        return []


def _verify_whole_texts(completion: str, solution: str) -> Verdict:
    _start_math_verify()
    from math_verify import verify
    from math_verify.errors import TimeoutException

    timeout = False
    try:
        pairs = list(itertools.product(_expressions(completion), _expressions(solution)))
    except TimeoutException:
        return Verdict.TIMEOUT
    for found, wanted in pairs:
        try:
            if verify(found, wanted, raise_on_error=True):
                return Verdict.EQUAL
        except TimeoutException:
            timeout = True
        except Exception as error:  # sympy's own errors share no base class
            _LOG.debug("math-verify failed on %r and %r: %r", completion, solution, error)
    return Verdict.TIMEOUT if timeout else Verdict.DIFFERENT


def _in_a_main_thread(compare: Callable[[str, str], Verdict], first: str, second: str) -> Verdict:
    """Call `compare` where math-verify's clock works.

    It is SIGALRM, which only a main thread can set (cancelling an alarm set before): other threads hand the
    pair to the main thread of a helper process. Should that die (of memory, say), the next pair gets another.
    """
    if threading.current_thread() is threading.main_thread():
        return compare(first, second)
    try:
        return _helper_process().submit(compare, first, second).result()
    except BrokenProcessPool:
        _helper_process.cache_clear()
        _LOG.warning("the helper process died comparing %.80r with %.80r", first, second)
        return Verdict.ERROR


@functools.cache
def _helper_process() -> concurrent.futures.Executor:
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    atexit.register(executor.shutdown)
    return executor
