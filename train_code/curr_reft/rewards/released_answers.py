"""How the released code reads a text (`Stage*_math_resize.py`, `muti_process_eval.py`).

Every quirk that changes a score is here or in `released`, under a name. Where the released expressions take
time beyond the length of the text, these take linear time and find the same.
"""

import re

_OPEN, _CLOSE = "<answer>", "</answer>"

# Possessive repeats: no text makes them go back. A number has digits before the point, or after it, or both.
_NUMBER = r"\s*+-?(?:\d++(?:\.\d++)?+|\.\d++)\s*+"
_BOX = re.compile(rf"\[({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})\]")
NO_BOX = (0, 0, 0, 0)
"""What stands for a missing box; a box of zeros in a text counts as missing too."""

_YES = re.compile(r"(?<![a-z])(yes|true|correct)(?![a-z])", re.IGNORECASE)
_NO = re.compile(r"(?<![a-z])(no|false|incorrect)(?![a-z])", re.IGNORECASE)
_OPTION = re.compile(r"(?<![A-Za-z])[A-E](?![A-Za-z])")
_ITEM_SEPARATORS = re.compile(r"[,，、\s]+")  # noqa: RUF001

Box = tuple[int, int, int, int]


def closed_block(text: str) -> str | None:
    """The first answer block, stripped: ``<answer>1</answer> … <answer>2</answer>`` gives 1."""
    start = text.find(_OPEN)
    end = text.find(_CLOSE, start + len(_OPEN))
    return text[start + len(_OPEN) : end].strip() if 0 <= start < end else None


def tagged_answer(text: str) -> str | None:
    """The first closed block, else whatever follows an unclosed tag: ``<answer>yes I think`` is an answer."""
    block = closed_block(text)
    if block is not None or _OPEN not in text:
        return block
    return text.split(_OPEN)[1].strip()


def clipped_answer(text: str) -> str | None:
    """As `tagged_answer`, but an unclosed answer stops at ``<`` and loses its last character.

    ``<answer>person, car`` gives ``person, ca``, and ``<answer>5`` nothing.
    """
    block = closed_block(text)
    if block is not None or _OPEN not in text:
        return block
    tail, bracket, _ = text[text.find(_OPEN) + len(_OPEN) :].partition("<")
    if not bracket:
        # A final newline does not protect the character before it.
        tail = tail.removesuffix("\n")[:-1]
    return tail.strip()


def yes_no(text: str) -> str | None:
    """`yes` if an affirmative word stands anywhere, else `no` for a negative one: ``not correct`` is yes."""
    text = text.lower().strip()
    if _YES.search(text):
        return "yes"
    return "no" if _NO.search(text) else None


def options(text: str) -> str:
    """Every lone letter A to E in order of appearance, joined: ``a dog`` is A, ``nonsense`` is empty."""
    return ",".join(dict.fromkeys(_OPTION.findall(text.upper().strip())))


def items(text: str) -> list[str]:
    """The text split on commas and white space: ``traffic light`` is two items, ``Car.`` is not ``car``."""
    return [item for item in _ITEM_SEPARATORS.split(text) if item]


def first_box(text: str) -> Box:
    """The first four bracketed numbers of a text, cut to integers (0.9 is 0), or `NO_BOX`."""
    return _integers(_BOX.search(text))


def last_box(text: str) -> Box:
    """The last four bracketed numbers once spaces are removed (``[1 00, …`` is 100), or `NO_BOX`."""
    last = None
    for match in _BOX.finditer(text.replace(" ", "")):
        last = match
    return _integers(last)


def _integers(match: re.Match[str] | None) -> Box:
    return tuple(int(float(number)) for number in match.groups()) if match else NO_BOX
