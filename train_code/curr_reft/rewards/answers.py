"""From the text of a completion to a typed answer: the only parsing that rewards, format and scoring use.

The rules are *ours*: the paper gives equations on answers, not on text. No function raises, whatever the
text, and each takes time linear in its length, so a completion built to be slow costs no more than another.
"""

import json
import math
import re

from curr_reft.data.boxes import Box

_OPEN, _CLOSE = "<answer>", "</answer>"
_QUOTES = "\"'`‘’“”"  # noqa: RUF001
_SEPARATORS = ",;，、；"  # noqa: RUF001

_OPTION_SEPARATORS = re.compile(rf"[\s{_SEPARATORS}/&]+")
_OPTION_BRACKETS = str.maketrans("", "", "()[]")
_OPTION = re.compile(r"[A-Za-z]\.?")

_LABEL_SEPARATORS = re.compile(rf"[\n{_SEPARATORS}]|(?<![^\s{_SEPARATORS}])and(?![^\s{_SEPARATORS}])")

_PYTHON_STRING = r"'((?:[^'\\]|\\.)*+)'"
_PYTHON_LIST = re.compile(rf"\[\s*+(?:{_PYTHON_STRING}\s*+,?\s*+)*+\]", re.DOTALL)
_FENCE_LANGUAGE = re.compile(r"\A(?:json|python|[a-z]*+(?=\s*+\n))", re.IGNORECASE)

_INTEGER = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?\.?")
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    "twenty",
)


def extract_answer(text: str) -> str | None:
    """The text inside the last closed ``<answer>…</answer>``, stripped; `None` when no block is closed."""
    last_close = text.rfind(_CLOSE)
    start = text.rfind(_OPEN, 0, max(last_close, 0))
    if start < 0:
        return None
    start += len(_OPEN)
    return text[start : text.find(_CLOSE, start)].strip()


def parse_yes_no(answer: str) -> bool | None:
    """The verdict when the whole answer is yes/true or no/false, else `None` (``yes or no`` is neither)."""
    return {"yes": True, "true": True, "no": False, "false": False}.get(_bare(answer, final=".!"))


def parse_options(answer: str) -> frozenset[str] | None:
    """The option letters, upper case, when the answer is a list of single letters A-Z and nothing else.

    Parentheses and square brackets are ignored, balanced or not; a letter may wear a dot. `None` is no
    verdict (``a dog``, ``It is C``, ``ACE``, an empty answer); a set that is returned is never empty.
    """
    tokens = _OPTION_SEPARATORS.split(answer.translate(_OPTION_BRACKETS))
    letters = [token for token in tokens if token and token.casefold() != "and"]
    if not letters or not all(_OPTION.fullmatch(letter) for letter in letters):
        return None
    return frozenset(letter[0].upper() for letter in letters)


def parse_labels(answer: str) -> frozenset[str]:
    """The category labels of an answer, casefolded; empty when there are none.

    A list of strings as JSON or Python writes it, or text split on commas, semicolons, newlines and the word
    ``and``, in brackets or not. White space alone does not split: ``traffic light`` is one label.
    """
    text = _unfenced(answer)
    labels = _load_json(text) if text.startswith("[") else None
    if _PYTHON_LIST.fullmatch(text):
        labels = re.findall(_PYTHON_STRING, text, re.DOTALL)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        labels = _LABEL_SEPARATORS.split(text.casefold())
    return frozenset(_bare(label, final=".") for label in set(labels)) - {""}


def parse_boxes(answer: str) -> list[Box] | None:
    """The boxes of an answer that is JSON as a whole, in its own pixel frame; `None` when it holds no boxes.

    Accepted: four numbers, an object with exactly one four-number list under any key, or a list of either.
    One element without a box, or a number that is not finite, spoils the answer. A box whose area is not
    positive is invalid and dropped, so the list may be empty.
    """
    value = _load_json(_unfenced(answer))
    single = _box(value)
    if single is not None:
        boxes = [single]
    elif isinstance(value, list):
        boxes = [_box(element) for element in value]
    else:
        return None
    if None in boxes:
        return None
    return [box for box in boxes if _has_area(box)]


def is_no_objects(answer: str) -> bool:
    """Whether the answer is ``No Objects``, the paper's words (Fig. 3) for a picture without the object."""
    return _bare(answer, final=".") == "no objects"


def parse_number(answer: str) -> int | None:
    """The integer that is the whole answer: digits (at most 18, also ``4.0``) or a word, zero to twenty."""
    text = answer.strip().casefold()
    digits = _INTEGER.fullmatch(text)
    if digits:
        return int(digits[1])
    word = text.removesuffix(".")
    return _NUMBER_WORDS.index(word) if word in _NUMBER_WORDS else None


def _bare(text: str, final: str) -> str:
    """Casefold, collapse white space, and drop surrounding quotes and the `final` punctuation."""
    return " ".join(text.casefold().split()).lstrip(" " + _QUOTES).rstrip(" " + _QUOTES + final)


def _unfenced(answer: str) -> str:
    """The answer without the code fence it may wear."""
    text = answer.strip()
    if text.startswith("```") and text.endswith("```") and len(text) >= 6:
        text = _FENCE_LANGUAGE.sub("", text[3:-3]).strip()
    return text


def _load_json(text: str) -> object:
    """The value of a JSON text with every number a finite float.

    `None` when it is not JSON, nested too deeply, or holds a number beyond a float's range anywhere.
    """
    try:
        return json.loads(text, parse_int=_finite, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _box(value: object) -> Box | None:
    """The one box of a JSON value: four finite numbers, or an object in which one value is."""
    if isinstance(value, dict):
        found = [box for box in map(_four_numbers, value.values()) if box is not None]
        return found[0] if len(found) == 1 else None
    return _four_numbers(value)


def _four_numbers(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(number, float) for number in value):
        return None
    return tuple(value)


def _has_area(box: Box) -> bool:
    # The product is tested too: sides of 1e-200 are positive, but IoU would divide by their area, which is 0.
    x1, y1, x2, y2 = box
    return x2 > x1 and y2 > y1 and 0 < (x2 - x1) * (y2 - y1) < float("inf")
