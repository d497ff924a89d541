"""Work that is done in two halves where the GPU's memory is too small for it."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_halves(
    work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], what: str
) -> list[Result]:
    """`work` on all items at once, or on as many at a time as memory allows; one must fit.

    Args:
        what: The items' name, for the log.
    """
    if not items:
        return []
    try:
        return work(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
        logger.warning("out of memory with %d %s: taking them in two halves", len(items), what)
    torch.cuda.empty_cache()
    half = len(items) // 2
    return [*in_halves(work, items[:half], what), *in_halves(work, items[half:], what)]
