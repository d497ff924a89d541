"""A process that another one started ends when that one has ended, even by a kill that nobody can catch."""

import os
import signal
import threading
from contextlib import suppress

import psutil

OWNER = "CURR_REFT_OWNER"
"""The environment variable that holds the number of the process whose end is everybody's below it."""


def follow_owner() -> None:
    """Get a SIGTERM, as from a terminal or scheduler, when the process that `OWNER` names has ended."""
    owner = os.environ.get(OWNER)
    if owner is None or int(owner) == os.getpid():
        return

    def watch() -> None:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(owner)).wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="follow owner", daemon=True).start()


def own_children() -> None:
    """Make the end of this process that of all it starts from now on."""
    os.environ[OWNER] = str(os.getpid())
