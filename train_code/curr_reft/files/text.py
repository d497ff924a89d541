"""Text of models and rows: whether it can be written and tokenized, and how it is shown."""

import re

_SPECIAL_TOKEN = re.compile(
    r"<\|(?:endoftext|(?:im|object_ref|box|quad|vision)_(?:start|end)"
    r"|(?:vision|image|video)_pad)\|>"
)


def visible(text: str) -> str:
    """The text with control, direction, unusual space and half characters spelled, such as ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else f"\\u{ord(char):04x}" for char in text)


def surrogate_fault(text: str) -> str | None:
    """Where a text has half of a surrogate pair: JSON can spell it, and no file or tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"unpaired surrogate at character {error.start}"
    return None


def special_token_fault(text: str) -> str | None:
    """Which special token of Qwen2.5-VL a text spells, as which the tokenizer would read it."""
    match = _SPECIAL_TOKEN.search(text)
    return None if match is None else f"contains {match[0]}, a special token of the model"


def shortened(text: str, most: int) -> tuple[str, int]:
    """The first `most` characters, and how many were left out.

    The last kept character may lose what combines with it.
    """
    return text[:most], max(0, len(text) - most)
