r"""From the text of a math answer to LaTeX: its name, its values, their units. *Ours*; the paper has no rule.

An answer is one short expression, or a list of such. What is not so is compared as text (`plain_text`).
"""

import re
from itertools import accumulate
from typing import NamedTuple

from curr_reft.answers.markup import LONGEST, boxed, without_markup
from curr_reft.answers.units import Quantity, split_unit

_MAX_CHARACTERS = 200
_DEEPEST = 5
"""Brackets within brackets, one more than the roots of a quadratic have: the time that math-verify takes
grows fast with each."""
_HIGHEST = 2
"""Powers one above another: of a third, math-verify makes numbers of gigabytes."""
PERCENT = "%"
"""The unit of a percentage, which also equals its value and a hundredth of it without the sign."""

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
    "∞": r"\infty ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "∪": r"\cup ",  # noqa: RUF001
    "±": r"\pm ",
    "√": r"\sqrt ",
    "{,}": ",",
    r"\%": PERCENT,
}
_WIDE = str.maketrans("（）［］：，、；％＝＋", "()[]:,,;%=+")  # noqa: RUF001
_SPACES = re.compile(r"(?<!\\)\\[,;:! ]|\\q?quad\b|~")
_LEFT_OR_RIGHT = re.compile(r"\\(?:left|right)(?![A-Za-z])")
_LONG_RELATION = re.compile(r"\\([lg])eq(?:slant)?(?![A-Za-z])")
_STYLED_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
_PERCENT_WORD = re.compile(r"(?<=[\d}).])\s*per\s?cent\b", re.IGNORECASE)
_ROOT_SIGN = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_ROOT_FUNCTION = re.compile(r"\\?(?<![A-Za-z])sqrt\s*\(([^()]*)\)")
_FUNCTIONS = r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)|log|ln|lg|pi"
_FUNCTION = re.compile(rf"(?<![\\A-Za-z])(?:{_FUNCTIONS})(?![A-Za-z])")
_POWER_OF_TEN = re.compile(r"(?<![\w.\\{^])(\d++(?:\.\d*+)?)[eE]([+-]?\d{1,4})(?![\w.])")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")

_NAME = re.compile(r"(?:m?\s*\\angle\s*[A-Za-z0-9]+|[A-Za-z]{1,4})\s*=\s*")
_WORDS = re.compile(r"((?:[A-Za-z]+\s+)*[A-Za-z]+)\s*=\s*")
_COMPARED_NAME = re.compile(r"[A-Za-z0-9]|[A-Z]+|\\angle[A-Za-z0-9]+")
_AND = re.compile(r"\s*,?\s+and\s+")
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z]+\}|\\[A-Za-z]+")
_ADJACENT_LETTERS = re.compile(r"[^\W\d_]{2}")
_DROPPED = re.compile(r"(?<=[\w)\]}])['\"\u2032\u2033]|\d\s*_")
"""What math-verify drops: primes (f' would be f, and 30' would be 30) and bases (101_2 would be 101)."""
_ADJACENT_NUMBERS = re.compile(r"[\d.]\s+[\d.]")
_AROUND_OPERATORS = re.compile(r"\s*([-+*/=^<>(),:|{}\[\]]|\\(?:le|ge|times|div|pm|cup|cdot)(?![A-Za-z]))\s*")
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_SHORT_EXPONENT = re.compile(r"\^\{(\w)\}")


class Expression(NamedTuple):
    """What a math answer says: the quantities it lists, one as a rule, and the name it gives them."""

    quantities: tuple[Quantity, ...]
    name: str | None

    def latex(self) -> str:
        """The values as LaTeX, a list of them with commas."""
        return ", ".join(rf"{value}\%" if unit == PERCENT else value for value, unit in self.quantities)


def read_expression(answer: str, is_gold: bool = False) -> Expression | None:
    r"""The expression that an answer is, `None` when only its text counts.

    That is so for more than 200 characters, brackets that do not match or nest deeply, powers three high,
    several ``$…$`` or ``\boxed``, numbers apart by white space alone, another ``=`` than that of a leading
    name, and two adjacent letters that are no command, function or unit. Of a gold, words before ``=`` are
    dropped too.
    """
    # The length is looked at before anything is copied: the rest may then be as slow as 200 characters allow.
    stripped = answer.strip()
    if len(stripped) > _MAX_CHARACTERS or _holds_several(stripped):
        return None
    text, name = _split_name(_to_latex(stripped), is_gold)
    depths = _depths(text)
    # math-verify would read none of unbalanced brackets either, after trying for half a second.
    if depths[-1] != 0 or max(depths) > _DEEPEST or _stacked_powers(text) > _HIGHEST:
        return None
    quantities = [_quantity(member) for member in _members(text)]
    return None if None in quantities else Expression(tuple(quantities), name)


def to_latex(answer: str) -> str | None:
    """The expression of an answer as bare LaTeX without name and unit, `None` when only its text counts."""
    expression = read_expression(answer)
    return expression.latex() if expression else None


def plain_text(answer: str) -> str:
    """An answer as text to compare: symbols mapped, casefolded, no white space around operators."""
    if len(answer) > LONGEST:
        return " ".join(answer.casefold().split()).removesuffix(".").rstrip()
    text = _AROUND_OPERATORS.sub(r"\1", _to_latex(answer))
    return _SHORT_EXPONENT.sub(r"^\1", text).casefold().strip()


def _holds_several(text: str) -> bool:
    text = text.replace(r"\$", "").replace("$$", "$")
    return text.count("$") > 2 or any(text.count(mark) > 1 for mark in (r"\(", r"\[")) or len(boxed(text)) > 1


def _to_latex(text: str) -> str:
    """The text with the symbols that people type as LaTeX, white space collapsed, without a final dot."""
    text = without_markup(text).removesuffix(".").translate(_WIDE)
    text = _ROOT_SIGN.sub(r"\\sqrt{\1}", text)
    for symbol, latex in _SYMBOLS.items():
        text = text.replace(symbol, latex)
    text = _LEFT_OR_RIGHT.sub("", _SPACES.sub(" ", text))
    text = _STYLED_FRACTION.sub(r"\\frac", _LONG_RELATION.sub(r"\\\1e", text))
    text = _PERCENT_WORD.sub(PERCENT, text)
    text = _FUNCTION.sub(lambda match: f"\\{match[0]} ", text)
    text = _ROOT_FUNCTION.sub(r"\\sqrt{\1}", text)
    text = _POWER_OF_TEN.sub(r"\1 \\times 10^{\2}", text)
    return " ".join(text.split()).removesuffix(".").rstrip()


def _split_name(text: str, is_gold: bool) -> tuple[str, str | None]:
    """The text behind a leading ``name =``, and the name where it is one to be compared.

    A segment or an angle read backwards has the same name. A gold may have words in its place, as
    ``Area of ABC =``.
    """
    found = _NAME.match(text)
    if found:
        name = "".join(found[0].rstrip("= ").split())
        rest = text[found.end() :]
        if not _COMPARED_NAME.fullmatch(name.removeprefix("m") if "\\" in name else name):
            return rest, None
        letters = name.rpartition(r"\angle")[2]
        return rest, min(letters, letters[::-1])
    words = _WORDS.match(text) if is_gold else None
    is_title = words is not None and any(len(word) > 1 and not word.isupper() for word in words[1].split())
    return (text[words.end() :], None) if is_title else (text, None)


def _members(text: str) -> list[str]:
    """The members of a list; a tuple or an interval is one, and so is ``1,000``."""
    depths = _depths(text)
    text = _THOUSANDS.sub(
        lambda number: number[0] if depths[number.start()] else number[0].replace(",", ""), text
    )
    text = _AND.sub(", ", text.replace(";", ","))
    if text.startswith(r"\{") and text.endswith(r"\}"):
        text = text[2:-2]
    members, start = [], 0
    for position, (character, depth) in enumerate(zip(text, _depths(text), strict=False)):
        if character == "," and depth == 0:
            members.append(text[start:position])
            start = position + 1
    members.append(text[start:])
    return [each for member in members for each in _both_signs(member.strip())]


def _depths(text: str) -> list[int]:
    """How many brackets are open before each character, and at the end."""
    return list(accumulate((_BRACKETS.get(character, 0) for character in text), initial=0))


def _stacked_powers(text: str) -> int:
    """How many powers stand one above another, as in ``2^{x^{2}}``."""
    is_exponent: list[bool] = []
    most, before = 0, ""
    for character in text:
        step = _BRACKETS.get(character, 0)
        if step > 0:
            is_exponent.append(before == "^")
        elif step < 0 and is_exponent:
            is_exponent.pop()
        elif character == "^":
            most = max(most, sum(is_exponent) + 1)
        if character != " ":
            before = character
    return most


def _both_signs(member: str) -> list[str]:
    if member.count(r"\pm") != 1:
        return [member]
    return [member.replace(r"\pm", sign).removeprefix("+").strip() for sign in "+-"]


def _quantity(member: str) -> Quantity | None:
    """Value and unit of one member, `None` when it is no short expression."""
    if member.endswith(PERCENT):
        value, unit = member.removesuffix(PERCENT).rstrip(), PERCENT
    else:
        value, unit = split_unit(member)
    if not value or "=" in value or "$" in value or r"\boxed" in value or _ADJACENT_NUMBERS.search(value):
        return None
    if _DROPPED.search(value):
        return None
    return None if _ADJACENT_LETTERS.search(_COMMAND.sub(" ", value)) else Quantity(value, unit)
