"""Where in a completion its answer stands. The rules are *ours*; each takes linear time and none raises."""

from typing import NamedTuple

_OPEN, _CLOSE = "<answer>", "</answer>"
_END_OF_THOUGHTS = "</think>"


class Region(NamedTuple):
    """A part of a completion, and in words which part it is."""

    text: str
    rule: str


def extract_answer(text: str) -> str | None:
    """The text inside the last closed ``<answer>…</answer>``, stripped; `None` when no block is closed."""
    last_close = text.rfind(_CLOSE)
    start = text.rfind(_OPEN, 0, max(last_close, 0))
    if start < 0:
        return None
    start += len(_OPEN)
    return text[start : text.find(_CLOSE, start)].strip()


def find_region(text: str) -> Region:
    """The last closed answer block, else what a sensible person would look at in place of it."""
    block = extract_answer(text)
    if block is not None:
        return Region(block, "the last closed answer block")
    _, is_opened, rest = text.rpartition(_OPEN)
    _, has_thoughts, behind = text.rpartition(_END_OF_THOUGHTS)
    if is_opened and _END_OF_THOUGHTS not in rest:
        return Region(rest.strip(), "an answer block that does not close")
    if has_thoughts:
        return Region(behind.strip(), "behind the thoughts")
    return Region(text.strip(), "the whole text")
