"""torchrun, with the exit codes of `curr_reft.errors`: ``python -m curr_reft.training.launch …``.

torchrun turns every failure into exit code 1 and a traceback, and kills its processes 30 seconds after a
signal. Here a script that ends with a code of ours, after its one line, makes this end with the same
code; signals go to the scripts, which take the time they need for a last checkpoint; one more signal, some
seconds later, kills them; and of a process that something else killed, one line says so.
"""

import logging
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

import psutil
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from curr_reft.errors import DivergedError, InputError, StoppedError
from curr_reft.lifetime import ONE_SIGNAL_SECONDS, follow_owners, own_children

# What came first explains the others: after a wrong input in one process, the others are stopped.
_CODES = tuple(kind.exit_code for kind in (InputError, DivergedError, StoppedError))
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _pass_on_signals() -> list[int]:
    """Send signals on to the scripts. Returns a list that gets those that come."""
    received: list[int] = []
    since: list[float] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        since.append(time.monotonic())
        children = psutil.Process().children()
        if not children:
            sys.exit(StoppedError.exit_code)
        again = since[-1] - since[0] > ONE_SIGNAL_SECONDS
        for child in children:
            child.send_signal(signal.SIGKILL if again else number)

    for number in _SIGNALS:
        # Under nohup hang-ups are ignored, and stay so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    return received


def main(argv: Sequence[str] | None = None) -> None:
    """Take torchrun's flags, the script and the script's flags."""
    follow_owners()
    own_children()
    received = _pass_on_signals()
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        # torchrun handles at least one signal itself; this one nobody sends to a training run.
        run.main(["--signals-to-handle=SIGQUIT", *argv])
    except ChildFailedError as error:
        ends = [failure.exitcode for failure in error.failures.values()]
        for code in _CODES:
            if code in ends:
                sys.exit(code)
        rank, first = error.get_first_failure()
        if first.exitcode < 0:
            if received:
                sys.exit(StoppedError.exit_code)
            name = signal.Signals(-first.exitcode).name
            hint = ", as by a machine that is out of memory" if name == "SIGKILL" else ""
            sys.stderr.write(
                f"error: process {rank} was ended by {name}{hint}; the same command goes on from the last"
                " checkpoint\n"
            )
        # A script that failed has printed its own traceback.
        sys.exit(1)


if __name__ == "__main__":
    main()
