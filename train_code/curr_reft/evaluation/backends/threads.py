"""Requests from several threads, which stop in good order."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from curr_reft.errors import InputError

Item = TypeVar("Item")
MAX_THREADS = 32
_NOTHING = object()


def check_threads(threads: int) -> None:
    """Raise `InputError` for a ``--threads`` that is not 1 to `MAX_THREADS`."""
    if not 1 <= threads <= MAX_THREADS:
        raise InputError(f"--threads {threads}: expected 1 to {MAX_THREADS}")


def for_each(items: Iterable[Item], work: Callable[[Item], None], threads: int) -> None:
    """Call `work` on every item, begun in their order, on as many threads at a time.

    After a failure no further item is begun; what is under way ends, and then the first failure is raised.
    Ctrl-C waits for nothing that is under way.
    """
    remaining = iter(items)
    turn, stop = threading.Lock(), threading.Event()
    failures: list[Exception] = []

    def go_on() -> None:
        while not stop.is_set():
            with turn:
                item = next(remaining, _NOTHING)
            if item is _NOTHING:
                return
            try:
                work(item)
            # Whatever it is, the thread that waits raises it.
            except Exception as error:
                failures.append(error)
                stop.set()

    # A pool of concurrent.futures would keep an interrupted process alive until the last request is answered.
    workers = [threading.Thread(target=go_on, daemon=True) for _ in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        stop.set()
    if failures:
        raise failures[0]
