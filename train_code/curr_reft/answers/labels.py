"""Category labels."""

import json
import re

from curr_reft.answers.markup import without_markup
from curr_reft.answers.words import SEPARATORS, bare

_SEPARATOR = re.compile(rf"[\n{SEPARATORS}]|(?<![^\s{SEPARATORS}])and(?![^\s{SEPARATORS}])")
_PYTHON_STRING = r"'((?:[^'\\]|\\.)*+)'"
_PYTHON_LIST = re.compile(rf"\[\s*+(?:{_PYTHON_STRING}\s*+,?\s*+)*+\]", re.DOTALL)


def parse_labels(answer: str) -> frozenset[str]:
    """The category labels of an answer, casefolded; empty when there are none.

    A list of strings as JSON or Python writes it, or text split on commas, semicolons, newlines and the word
    ``and``, in brackets or not. White space alone does not split: ``traffic light`` is one label.
    """
    text = without_markup(answer)
    labels = _listed(text)
    if labels is None:
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        labels = _SEPARATOR.split(text.casefold())
    return frozenset(bare(label, final=".") for label in set(labels)) - {""}


def _listed(text: str) -> list[str] | None:
    """The strings of a JSON or Python list, `None` when the text is none."""
    if _PYTHON_LIST.fullmatch(text):
        return re.findall(_PYTHON_STRING, text, re.DOTALL)
    if not text.startswith("["):
        return None
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    return labels if is_list else None
