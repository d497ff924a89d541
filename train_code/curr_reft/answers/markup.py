r"""Markup is no content: what is taken off a text before anything is read in it.

``**bold**``, ``\text{…}`` and its like, ``$…$``, ``\(…\)``, ``\[…\]``, one ``\boxed{…}`` and a code fence go.
The rule is *ours*. Every function takes time linear in the length of the text, and none raises.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_LANGUAGE = r"(?:json[5cl]?|python|py|javascript|js|text|txt|plaintext|markdown|md|latex|tex|math|xml|html)"
_FENCE = re.compile(rf"```(?:{_LANGUAGE}(?![A-Za-z]))?", re.IGNORECASE)
_END_OF_FENCE = re.compile(rf"```(?:{_LANGUAGE})?", re.IGNORECASE)

_MARK = re.compile(
    r"(?P<command>\\(?:text(?:bf|it|rm)?|math(?:rm|bf)|boxed)\s*+\{)"
    r"|(?P<delimiter>\$\$?|\\[()\[\]])|(?P<bold>\*\*)|(?P<opened>\{)|(?P<closed>\})|\\.",
    re.DOTALL,
)

LONGEST = 20_000
"""Characters of an answer that is still looked into; a model's whole completion has fewer."""

Span = tuple[int, int]


class Boxed(NamedTuple):
    r"""Where in a text one ``\boxed{…}`` begins, opens its brace, and closes it."""

    start: int
    opened: int
    closed: int

    def content(self, text: str) -> str:
        """What is in it."""
        return text[self.opened + 1 : self.closed]


def unfenced(text: str) -> str:
    """The text without the code fence around it; the fence may name a language at both ends, or not close."""
    text = text.strip()
    if not text.startswith("```"):
        return text
    start, end = _FENCE.match(text).end(), text.rfind("```")
    if end >= start and _END_OF_FENCE.fullmatch(text, end):
        return text[start:end].strip()
    # A mark in the midst ends the fence, and what follows it is not in it.
    return text if end >= start else text[start:].strip()


def fenced(text: str) -> list[str]:
    """What stands in each code fence of a text, the last of which may lack its closing mark."""
    parts = text.split("```")[1::2]
    return [unfenced(f"```{part}```") for part in parts]


def boxed(text: str) -> list[Boxed]:
    r"""Every ``\boxed{…}`` of a text that closes, in the order in which they open."""
    return _marks(text)[1] if r"\boxed" in text else []


def without_markup(text: str) -> str:
    r"""The text less its markup, stripped; a value and behind it the same value boxed become that value.

    Of several ``\boxed{…}`` none is taken off: which one is the answer would be a guess. A text of more than
    `LONGEST` characters loses its fence alone.
    """
    text = unfenced(text)
    if len(text) > LONGEST or not ("\\" in text or "$" in text or "**" in text):
        return text
    spans, boxes = _marks(text)
    if len(boxes) == 1:
        value = value_before(text, boxes[0])
        if value is not None and _bare(value) == _bare(without_markup(boxes[0].content(text))):
            return without_markup(boxes[0].content(text))
        spans += (boxes[0].start, boxes[0].opened + 1), (boxes[0].closed, boxes[0].closed + 1)
    return _cut(text, spans).strip()


def value_before(text: str, box: Boxed) -> str | None:
    """What stands before a box that ends the text, less its markup; `None` where the box goes on with it.

    ``x = `` and ``4 + `` are continued by what is in the box.
    """
    before = without_markup(text[: box.start].rstrip().removesuffix("$")).rstrip(" ,;")
    rest = without_markup(text[box.closed + 1 :]).strip("$. ")
    return before if before and not rest and before[-1] not in "=+-*/^_(<>≈:" else None


def _marks(text: str) -> tuple[list[Span], list[Boxed]]:
    """The spans that delimiters, bold marks and the frames of commands take up, and the boxes."""
    spans: list[Span] = []
    delimiters: list[Span] = []
    boxes: list[Boxed] = []
    braces: list[re.Match[str]] = []
    bold: Span | None = None
    for mark in _MARK.finditer(text):
        if mark["command"] or mark["opened"]:
            braces.append(mark)
        elif mark["closed"] and braces:
            opening = braces.pop()
            if opening["command"] and opening[0].startswith(r"\boxed"):
                boxes.append(Boxed(opening.start(), opening.end() - 1, mark.start()))
            elif opening["command"]:
                spans += opening.span(), mark.span()
        elif mark["delimiter"]:
            delimiters.append(mark.span())
        elif mark["bold"] and bold is not None and _closes(text, mark):
            spans += bold, mark.span()
            bold = None
        elif mark["bold"] and _opens(text, mark):
            bold = mark.span()
    if [text[start:end] for start, end in delimiters] != ["$"]:
        # A lone one is a dollar.
        spans += delimiters
    return spans, sorted(boxes)


def _opens(text: str, mark: re.Match[str]) -> bool:
    """Whether ``**`` begins something bold: after a word or a bracket it is a power, as in ``x**2``."""
    before, after = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
    return not (before.isalnum() or before == ")") and not after.isspace()


def _closes(text: str, mark: re.Match[str]) -> bool:
    before, after = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
    return not before.isspace() and not after.isalnum()


def _cut(text: str, spans: Iterable[Span]) -> str:
    """The text without the spans; what they kept apart (``2\\boxed{5}``) stays apart."""
    parts: list[str] = []
    position = 0
    for start, end in (*sorted(spans), (len(text), len(text))):
        part = text[position:start]
        if parts and part and parts[-1][-1].isalnum() and part[0].isalnum():
            parts.append(" ")
        if part:
            parts.append(part)
        position = end
    return "".join(parts)


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).strip(".,:; ")
