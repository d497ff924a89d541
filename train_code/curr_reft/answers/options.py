"""Option letters: those an answer gives, and those a problem lists with their texts."""

import re
from itertools import pairwise, takewhile
from typing import NamedTuple

from curr_reft.answers.markup import LONGEST, without_markup
from curr_reft.answers.words import SEPARATORS

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_WIDE = str.maketrans("（）：．", "():.")  # noqa: RUF001
_SEPARATOR = re.compile(rf"[\s{SEPARATORS}/&]+")
_BRACKETS = str.maketrans("", "", "()[]")
_OPTION = re.compile(r"[A-Za-z]\.?")
_CAPITALS = re.compile(rf"(?:[A-Z.()\[\]\s{SEPARATORS}]|\band\b)*+")
# Glued to another single letter it marks nothing: A.C, U.S.
_MARKED = re.compile(
    rf"(?<![^\s{SEPARATORS}/&])(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[.):])(?![A-Z](?![A-Za-z]))"
)
_NO_TEXT = rf" \n\t{SEPARATORS}/&."
_LISTED = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*)$", re.MULTILINE)


class ListedOptions(NamedTuple):
    """A problem taken apart: the text before its options, the options from A on, the text after them."""

    before: str
    options: tuple[str, ...]
    after: str


def parse_options(answer: str) -> frozenset[str] | None:
    """The option letters, upper case; `None` is no verdict (``a dog``, ``It is C``, ``ACE``, nothing).

    Either the answer is a list of single letters A-Z and nothing else: parentheses and square brackets are
    ignored, balanced or not, and a letter may wear a dot. Or it begins with a marked upper-case letter
    (``B.``, ``(B)``, ``B)``, ``B:``): then that one and every other marked letter with text behind it counts,
    and the text is not read, so that a list of all options is the set of all letters. More than `LONGEST`
    characters are no verdict.
    """
    if len(answer) > LONGEST:
        return None
    text = without_markup(answer).translate(_WIDE)
    letters = _list_of_letters(text)
    is_marked = _MARKED.match(text)
    # Behind a marked capital a small letter is text, as in `A. x`.
    if not is_marked or (letters and not any(map(str.islower, text.replace("and", "")))):
        return letters
    marks = list(_MARKED.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    texts = [text[mark.end() : end].strip(_NO_TEXT) for mark, end in zip(marks, ends, strict=True)]
    counted = [
        mark for mark, rest in zip(marks, texts, strict=True) if rest not in ("", "and") or mark is marks[0]
    ]
    return frozenset(map(_letter, counted))


def parse_gold_options(gold: str) -> frozenset[str] | None:
    """The letters of a math gold that is options: one, or a list of upper-case ones; ``a/b`` is a value."""
    options = parse_options(gold)
    is_list = options is not None and _CAPITALS.fullmatch(without_markup(gold).translate(_WIDE))
    return options if options is not None and (len(options) == 1 or is_list) else None


def _list_of_letters(text: str) -> frozenset[str] | None:
    tokens = _SEPARATOR.split(text.translate(_BRACKETS))
    letters = [token for token in tokens if token and token.casefold() != "and"]
    if letters and all(_OPTION.fullmatch(letter) for letter in letters):
        return frozenset(letter[0].upper() for letter in letters)
    return None


def listed_options(problem: str) -> ListedOptions | None:
    """The options of a problem as Geo170K (`A: 30`) and MathV360K (`(A) 30`) list them, each in its line.

    `None` unless two or more are listed, from A on without a gap or a repeat, and no other text stands
    between them.
    """
    lines = list(_LISTED.finditer(problem))
    letters = "".join(line[1] for line in lines)
    options = tuple(line[2].strip() for line in lines)
    between = "".join(problem[line.end() : after.start()] for line, after in pairwise(lines))
    if len(lines) < 2 or letters != LETTERS[: len(lines)] or between.strip():
        return None
    return ListedOptions(problem[: lines[0].start()].rstrip(), options, problem[lines[-1].end() :].strip())


def option_texts(problem: str) -> dict[str, str]:
    """The texts of a problem's options by their letters: of a list in lines, or of the last one in a line."""
    listed = listed_options(problem)
    if listed:
        return dict(zip(LETTERS, listed.options, strict=False))
    text = problem.translate(_WIDE)
    marks = list(_MARKED.finditer(text))
    letters = "".join(_letter(mark) for mark in marks)
    start = letters.rfind("A")
    count = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(letters[start:], LETTERS, strict=False))
    )
    if start < 0 or count < 2:
        return {}
    marks = marks[start : start + count]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    texts = (text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
    return dict(zip(LETTERS, (option.partition("\n")[0].strip(" ,;") for option in texts), strict=False))


def _letter(mark: re.Match[str]) -> str:
    return mark[1] or mark[2] or mark[3]
