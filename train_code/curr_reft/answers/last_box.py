r"""The last ``\boxed{…}`` of a text as its answer, unless the text around it says otherwise. *Ours*."""

import re

from curr_reft.answers.expressions import read_expression
from curr_reft.answers.markup import Boxed, without_markup

_ALTERNATIVE = re.compile(r"[\s,;:/&$()\\]*+(?:or|and)?[\s,;:/&$()\\]*+", re.IGNORECASE)
_AROUND = 80
"""Characters before a box in which it may be denied."""
_DENIED = re.compile(
    r"(?:\bor|(?:\b(?:not|never|cannot)|n['’]t)(?:\s+(?:be|equal|to|the|an?))*)\Z",  # noqa: RUF001
    re.IGNORECASE,
)
_WITHIN_A_FORMULA = re.compile(
    r"(?:[-+*/^_<>≠≤≥≈]|\\(?:neq?|[lg]eq?(?:slant)?|approx|sim)|\\(?:[dt]?frac|sqrt)(?:\{[^{}]*\}|\[\d+\])?\{)\Z"
)
_TAKEN_BACK = re.compile(
    r"\?|or\b|not\b|(?:is|was)(?:n['’]t|\s+(?:not|wrong|incorrect|false))\b",  # noqa: RUF001
    re.IGNORECASE,
)
_CONTINUATION = re.compile(r"[-+*/^_<>=!%°\d]|\\(?!boxed)")
_END_OF_CLAUSE = re.compile(r"[.;](?:\s|\Z)|,\s|\n")


def last_box(text: str, boxes: list[Boxed]) -> str | None:
    r"""What the last of a text's boxes gives as the answer, with what goes on behind it: a unit, ``\pi``.

    `None` for ``not \boxed{3}``, ``\boxed{3} or 4``, ``-\boxed{3}``, two boxes side by side that differ.
    """
    box = boxes[-1]
    before = without_markup(text[max(0, box.start - _AROUND) : box.start]).rstrip(" $([").removesuffix("**")
    if _DENIED.search(before) or _WITHIN_A_FORMULA.search(before) or _is_one_of_two(text, boxes):
        return None
    clause = _END_OF_CLAUSE.split(text[box.closed + 1 :], maxsplit=1)[0]
    behind = without_markup(clause.replace("$", "")).strip(" *})")
    if _TAKEN_BACK.match(behind):
        return None
    content = box.content(text)
    if _CONTINUATION.match(behind):
        return content + behind
    with_unit = f"{without_markup(content)} {behind}"
    expression = read_expression(with_unit)
    return with_unit if expression and expression.quantities[-1].unit else content


def _is_one_of_two(text: str, boxes: list[Boxed]) -> bool:
    if len(boxes) < 2 or boxes[-2].content(text) == boxes[-1].content(text):
        return False
    return _ALTERNATIVE.fullmatch(text, boxes[-2].closed + 1, boxes[-1].start) is not None
