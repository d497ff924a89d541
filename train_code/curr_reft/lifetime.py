"""Processes that others started: they end when one of those has ended, even by a kill that nobody can catch,
and signals are passed on to them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import psutil

ONE_SIGNAL_SECONDS = 5.0
"""Signals within this time count as one: schedulers tell all processes, and launchers pass theirs on."""
_LOOK_SECONDS = 0.1
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


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path | None,
    lock: int | None = None,
    pass_on: Callable[[int, int, bool], None] | None = None,
    folder: Path | None = None,
) -> tuple[int, signal.Signals | None]:
    """Run a command to its end; what it prints is added to `log`, and shown on standard output as well.

    An interrupt, termination or hang-up of this process goes to the command, which is to end by itself.

    Args:
        log: `None` for standard output alone.
        lock: A file descriptor that the command holds as well, even when this process is killed.
        pass_on: Called, instead of sending a signal to the command, with its process number, that of the
            signal, and whether one came some seconds before.
        folder: Its working directory, `None` for this process's.

    Returns:
        Its exit code, 128 + N after its end by signal N, and the signal that this process received, if any.
    """
    received: list[signal.Signals] = []
    began: list[float] = []

    def take(number: int, _frame: object) -> None:
        received.append(signal.Signals(number))
        began.append(time.monotonic())
        if pass_on is None:
            process.send_signal(number)
        else:
            pass_on(process.pid, number, began[-1] - began[0] > ONE_SIGNAL_SECONDS)

    with ExitStack() as files:
        written = log and files.enter_context(log.open("ab"))
        shown = log and files.enter_context(log.open("rb"))
        if shown is not None:
            shown.seek(0, os.SEEK_END)
        # It writes to the file by itself: behind a pipe, it would fail when this process is killed. It has a
        # session of its own, so that Ctrl-C, which a terminal sends to all, reaches it once.
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdout=written,
            stderr=written and subprocess.STDOUT,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # Under nohup hang-ups are ignored, and stay so.
        heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, take) for number in heard}
        try:
            if shown is not None:
                _show(shown, process)
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if process.poll() is None:
                kill_session(process.pid)
    return code if code >= 0 else 128 - code, received[0] if received else None


def _show(log: BinaryIO, process: subprocess.Popen) -> None:
    """Copy what a process adds to its log to standard output, until it has ended."""
    ended = False
    while not ended:
        # Asked first, so that nothing is left when it has ended.
        ended = process.poll() is not None
        if part := log.read():
            try:
                sys.stdout.buffer.write(part)
                sys.stdout.flush()
            # The terminal, or who read from here, has gone: the process goes on, and all is in the log.
            except OSError:
                return
        elif not ended:
            time.sleep(_LOOK_SECONDS)


def kill_session(leader: int) -> None:
    """Kill a process that `run_child` started, and what it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
