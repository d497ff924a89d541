"""What short answers in words are read with: quotes, separators, final punctuation."""

QUOTES = "\"'`‘’“”"  # noqa: RUF001
SEPARATORS = ",;，、；"  # noqa: RUF001


def bare(text: str, final: str) -> str:
    """Casefold, collapse white space, and drop surrounding quotes and the `final` punctuation."""
    return " ".join(text.casefold().split()).lstrip(" " + QUOTES).rstrip(" " + QUOTES + final)
