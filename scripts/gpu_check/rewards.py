"""A reward under which the completions of random weights differ, so that there is a gradient."""

from typing import Any


def token_sum(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    """A number from 0 to 1 that nothing but the tokens decides."""
    return [sum(ids) % 101 / 100 for ids in completion_ids]
