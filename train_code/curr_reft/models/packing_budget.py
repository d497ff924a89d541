"""Groups cut into parts that memory has room for (`--max_packed_tokens`)."""

from collections.abc import Iterable, Sequence

from curr_reft.errors import InputError
from curr_reft.models.padded_rows import PaddedRow, groups_of


def packed_tokens(rows: Iterable[PaddedRow]) -> int:
    """Length of the sequence that packs these rows."""
    return sum(
        len(group[0].prompt) - 1 + sum(len(row.completion) for row in group) for group in groups_of(rows)
    )


def check_budget(max_tokens: int, prompt: int, completion: int) -> None:
    """Refuse a budget that a prompt and a single completion of these lengths exceed.

    Raises:
        InputError: with the numbers.
    """
    tokens = prompt - 1 + completion
    if tokens > max_tokens:
        raise InputError(
            f"--max_packed_tokens {max_tokens}: a prompt of {prompt} tokens with a completion of {completion}"
            f" takes {tokens}; raise it, or lower --max_prompt_length or --max_completion_length"
        )


def split_rows(rows: Sequence[PaddedRow], max_tokens: int | None) -> list[list[PaddedRow]]:
    """Cut rows into parts of at most `max_tokens` packed tokens; a group that is cut repeats its prompt.

    Raises:
        InputError: when one completion with its prompt is longer than that.
    """
    if max_tokens is None:
        return [list(rows)]
    parts: list[list[PaddedRow]] = [[]]
    for row in rows:
        check_budget(max_tokens, len(row.prompt), len(row.completion))
        if packed_tokens([*parts[-1], row]) > max_tokens:
            parts.append([])
        parts[-1].append(row)
    return parts


def split_further(parts: Sequence[list[PaddedRow]], count: int) -> list[list[PaddedRow]]:
    """Halve the parts with most rows until there are `count`, as many as the process with most has."""
    parts = list(parts)
    while len(parts) < count:
        largest = max(range(len(parts)), key=lambda index: len(parts[index]))
        half = len(parts[largest]) // 2
        parts[largest : largest + 1] = [parts[largest][:half], parts[largest][half:]]
    return parts
