"""A process that others started ends when one of them has ended, even by a kill that nobody can catch."""

import os
import signal
import threading
from contextlib import suppress

import psutil

ONE_SIGNAL_SECONDS = 5.0
"""Signals within this time count as one: schedulers tell all processes, and launchers pass theirs on."""
OWNERS = "CURR_REFT_OWNERS"
"""The environment variable with the numbers of the processes whose end is everybody's below them."""


def follow_owners() -> None:
    """Get a SIGTERM, as from a scheduler, when one of the processes that `OWNERS` names has ended."""
    for owner in map(int, os.environ.get(OWNERS, "").split()):
        if owner != os.getpid():
            threading.Thread(target=_follow, args=[owner], name=f"follow {owner}", daemon=True).start()


def _follow(owner: int) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(owner).wait()
    os.kill(os.getpid(), signal.SIGTERM)


def own_children() -> None:
    """Make the end of this process that of all it starts from now on."""
    owners = os.environ.get(OWNERS, "").split()
    if str(os.getpid()) not in owners:
        os.environ[OWNERS] = " ".join([*owners, str(os.getpid())])
