"""Files of JSON lines that lose nothing to a kill: each row is on disk before the next one is asked for."""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing
from curr_reft.files.json import Row

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows at the end of a file and wait until they are on the disk.

    Processes and threads may append to one file at a time. The half line of a killed writer stays on a line
    of its own.

    Raises:
        InputError: when the file cannot be written.
    """
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    try:
        # Unbuffered: what is written is one call, and its lock covers it.
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    lines = b"\n" + lines
            view = memoryview(lines)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def recover(path: Path, key_of: Callable[[Row], Key | None]) -> dict[Key, Row]:
    """The rows of a file that still count, by key; afterwards the file holds these and nothing else.

    A last line that a kill cut off is dropped. Broken lines elsewhere, rows without a key and rows whose key
    an earlier one has go nowhere: the file as it was is kept beside the new one as ``NAME.set-aside-N``, and
    the log says so. No other process may be appending.

    Args:
        key_of: A row's key, `None` when the row is no longer of use. It may raise `LookupError` or
            `TypeError` on rows that are not what it expects; such rows are as good as broken.

    Raises:
        InputError: when the file cannot be read or written.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    last = lines.pop()
    kept: dict[Key, Row] = {}
    broken = outdated = 0
    # A writer that followed a killed one starts a new line, so an empty one is nothing lost.
    for line in filter(None, lines):
        row, key = _read(line, key_of)
        if row is None:
            broken += 1
        elif key is None or key in kept:
            outdated += 1
        else:
            kept[key] = row
    if broken or outdated:
        aside = _set_aside(path)
        logger.warning(
            "%s: %d broken lines and %d rows of other settings, not asked for or twice there; the file as it"
            " was is now %s",
            *(path, broken, outdated, aside.name),
        )
    elif last:
        logger.warning("%s: the last line was cut off and is dropped; its row is asked for again", path)
    if broken or outdated or last:
        with replacing(path) as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in kept.values())
    return kept


def _read(line: bytes, key_of: Callable[[Row], Key | None]) -> tuple[Row | None, Key | None]:
    try:
        row = json.loads(line)
        json.dumps(row, allow_nan=False)
        key = key_of(row)
        hash(key)
        return row, key
    except (ValueError, RecursionError, LookupError, TypeError):
        return None, None


def _set_aside(path: Path) -> Path:
    """Give the file a second name beside it, the first that is free."""
    number = 1
    while True:
        aside = path.with_name(f"{path.name}.set-aside-{number}")
        try:
            os.link(path, aside)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(f"{aside}: cannot be written ({error.strerror})") from error
        else:
            return aside


@contextmanager
def sole_writer(directory: Path) -> Iterator[int]:
    """Make a directory, and hold it against another command that writes there, until the block ends.

    Yields the file descriptor that holds it: a process that inherits it holds the directory, too.

    Raises:
        InputError: when another one is at work there, or the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made or opened ({error.strerror})") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{directory}: another command is writing there; wait for it to end") from error
        except OSError as error:
            raise InputError(f"{directory}: cannot be locked ({error.strerror})") from error
        yield lock
    finally:
        os.close(lock)
