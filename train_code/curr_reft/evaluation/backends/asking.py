"""Asking for what is missing of what was wanted."""

import threading
from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

from tqdm import tqdm

from curr_reft.errors import InputError
from curr_reft.evaluation.backends.threads import for_each

Item = TypeVar("Item")


def ask_for_missing(
    missing: Sequence[Item], ask: Callable[[Item], None], threads: int, saved: Sized, unit: str
) -> None:
    """`for_each` with a progress bar over all that is wanted; a failure says how much of it is saved.

    Args:
        ask: Asks for an item and, when it gets it, adds it to `saved`.
        saved: What is there, of what is wanted.
        unit: What an item is called, in the singular.

    Raises:
        InputError: of the kind that `ask` raised.
    """
    total = len(saved) + len(missing)
    counting = threading.Lock()
    with tqdm(
        total=total, initial=len(saved), desc=f"Asking for {unit}s", unit=unit, disable=None
    ) as progress:

        def ask_one(item: Item) -> None:
            ask(item)
            with counting:
                progress.update()

        try:
            for_each(missing, ask_one, threads)
        except InputError as error:
            hint = f"{len(saved)} of {total} {unit}s are saved; started again, the command goes on from there"
            raise type(error)(f"{error} ({hint})") from error
