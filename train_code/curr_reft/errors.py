"""The one exception for input a user can mend, and the way commands report it."""

import functools
import os
import sys
import time
from collections.abc import Callable

_SECONDS_FOR_THE_FIRST_PROCESS = 20
_HEAD, _TAIL = 1500, 500


class InputError(Exception):
    """Something the user gave (flag, file, row, image, model path) is wrong.

    The message is one line: what is wrong, where (``file:line``, flag or row id), and what to do about it.
    Line breaks that the user's own text brings in become spaces, and the middle of a long message, which a
    row can make of any length, is left out with a count.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        left_out = len(line) - _HEAD - _TAIL
        if left_out > 0:
            line = f"{line[:_HEAD]} … ({left_out} characters left out) … {line[-_TAIL:]}"
        super().__init__(line)


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command's ``main``: an `InputError` becomes one line on standard error and exit code 2.

    Ctrl-C ends it with one line and 130, a closed pipe (``| head``) quietly.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        try:
            main(*args, **kwargs)
        except InputError as error:
            if os.environ.get("LOCAL_RANK", "0") != "0":
                # The first process of the node finds the same fault and says so; its exit ends this one.
                # If it does not within this time, the fault is this process's own.
                time.sleep(_SECONDS_FOR_THE_FIRST_PROCESS)
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            sys.exit(130)
        except BrokenPipeError:
            # Whoever read the output has gone; without this, Python would report it again while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return run
