"""The exceptions that end a command with one line, the exit codes, and the way commands report them.

0    done
1    an error of this program, with a traceback
2    wrong input: a flag, file, row, image, model or folder that cannot be used, or a disk without room
4    the run diverged; its last checkpoint is kept
75   stopped by a signal; the same command goes on from the last checkpoint, or begins again without one
130  interrupted (Ctrl-C) where nothing can be gone on with
"""

import errno
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator

from curr_reft.lifetime import follow_owners

_SECONDS_FOR_THE_FIRST_PROCESS = 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM_TEXTS = ("No space left on device", "Disk quota exceeded")
_HEAD, _TAIL = 1500, 500


class CommandError(Exception):
    """Ends a command with its one line on standard error and its exit code."""

    exit_code = 1


class InputError(CommandError):
    """Something the user gave (flag, file, row, image, model path) is wrong.

    The message is one line: what is wrong, where (``file:line``, flag or row id), and what to do about it.
    Line breaks that the user's own text brings in become spaces, and the middle of a long message, which a
    row can make of any length, is left out with a count.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        left_out = len(line) - _HEAD - _TAIL
        if left_out > 0:
            line = f"{line[:_HEAD]} … ({left_out} characters left out) … {line[-_TAIL:]}"
        super().__init__(line)


class DivergedError(CommandError):
    """Training went where no further step makes sense; the message names the step and what to try."""

    exit_code = 4


class StoppedError(CommandError):
    """A signal ended a run that can go on; the message says from where."""

    exit_code = 75


def error_of(code: int, message: str) -> CommandError:
    """The exception of a command that another one ended with an exit code, which becomes its own."""
    kinds = {kind.exit_code: kind for kind in (InputError, DivergedError, StoppedError)}
    error = kinds.get(code, CommandError)(message)
    error.exit_code = code
    return error


def out_of_room(error: BaseException) -> bool:
    """Whether a full disk or quota is behind an error, as far as libraries let it through."""
    return any(
        (isinstance(each, OSError) and each.errno in _NO_ROOM)
        or any(text in str(each) for text in _NO_ROOM_TEXTS)
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command's ``main``: a `CommandError` becomes one line on standard error and its exit code.

    So does a disk without room. A command ends when those that started it have ended
    (`curr_reft.lifetime`); Ctrl-C ends it with one line and 130, a closed pipe (``| head``) quietly.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        follow_owners()
        try:
            main(*args, **kwargs)
        except CommandError as error:
            _end(error)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            sys.exit(130)
        except BrokenPipeError:
            # Whoever read the output has gone; without this, Python would report it again while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            if not out_of_room(error):
                raise
            where = error.filename or "the disk written to"
            _end(InputError(f"{where}: {os.strerror(error.errno)}; make room and start again"))

    return run


def _end(error: CommandError) -> None:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # The first process of the node finds the same and says so; its exit ends this one, by a signal. If it
        # does not within this time, the fault is this process's own.
        time.sleep(_SECONDS_FOR_THE_FIRST_PROCESS)
        if isinstance(error, StoppedError):
            # The signal reached them all.
            sys.exit(error.exit_code)
    sys.stderr.write(f"error: {error}\n")
    sys.exit(error.exit_code)
