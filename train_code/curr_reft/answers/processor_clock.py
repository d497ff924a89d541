"""A limit of processor time, in a main thread.

Processor time and not the wall's: how loaded a machine is must not change what a completion earns.
"""

import atexit
import concurrent.futures
import functools
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.05


class OutOfTimeError(BaseException):
    """The limit has passed. No `Exception`, so that code which swallows those does not swallow this."""


class HelperDiedError(Exception):
    """The process that was to do the work is gone."""


@contextmanager
def processor_seconds(limit: float) -> Iterator[None]:
    """Raise `OutOfTimeError` in the block once the main thread has computed `limit` seconds in it.

    The timer (SIGPROF) runs on the time of all threads and so strikes at least as often as is needed; what is
    looked at is this thread's own. It strikes again, should the block have caught the first.
    """
    deadline = time.thread_time() + limit
    is_running = True

    def look(*_: object) -> None:
        if is_running and time.thread_time() > deadline:
            raise OutOfTimeError

    handler = signal.signal(signal.SIGPROF, look)
    timer = signal.setitimer(signal.ITIMER_PROF, _TICK_SECONDS, _TICK_SECONDS)
    try:
        try:
            yield
        finally:
            is_running = False
    finally:
        signal.setitimer(signal.ITIMER_PROF, *timer)
        signal.signal(signal.SIGPROF, handler)


def in_a_main_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function where it can set the timer: here, or in the main thread of a helper process.

    Raises:
        HelperDiedError: when that process died (of memory, say); the next call gets another.
    """
    if threading.current_thread() is threading.main_thread():
        return function(*arguments)
    try:
        return _helper_process().submit(function, *arguments).result()
    except BrokenProcessPool as error:
        _helper_process.cache_clear()
        logger.warning("the helper process died working on %.80r", arguments)
        raise HelperDiedError from error


@functools.cache
def _helper_process() -> concurrent.futures.Executor:
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    atexit.register(executor.shutdown)
    return executor
