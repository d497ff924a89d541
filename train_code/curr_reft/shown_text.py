"""Text of models and rows, made fit to be shown."""


def visible(text: str) -> str:
    """The text with control, direction, unusual space and half characters spelled, such as ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else f"\\u{ord(char):04x}" for char in text)


def shortened(text: str, most: int) -> tuple[str, int]:
    """The first `most` characters, and how many were left out.

    The last kept character may lose what combines with it.
    """
    return text[:most], max(0, len(text) - most)
