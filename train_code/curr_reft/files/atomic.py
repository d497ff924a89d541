"""Files that are whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from curr_reft.errors import CommandError, InputError, out_of_room

_LITTLE = 2**20


class FullDiskError(InputError):
    """There is no room; the message names the folder."""


@contextmanager
def replacing(path: Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a text (UTF-8) or binary file that takes the place of `path` when the block ends well.

    Until then, and after an exception or a kill, whatever was at `path` stays as it was. Missing folders are
    made. A kill leaves what was written in a hidden file `.NAME.PROCESS.part` beside it. Nothing reads that
    file, nor deletes it: where machines share a folder, its writer may live on another one.

    Raises:
        InputError: when the folder or file cannot be written.
    """
    # The process in the name: two commands that write one file do not write into each other's.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("wb") if binary else part.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with file:
            yield file
            # On the disk before it takes the other's place, so that a power cut leaves one of the two whole.
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        # Writing names no file, opening another one inside the block does.
        if error.filename not in (None, str(part)):
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def room_below(folder: Path) -> Iterator[None]:
    """Within, a full disk or quota is a `FullDiskError` that names the folder, whatever library wrote there.

    Some say no more than that a write failed: then it is tried whether a little can be written.
    """
    try:
        yield
    except CommandError:
        raise
    except Exception as error:
        if not (out_of_room(error) or _is_full(folder)):
            raise
        raise FullDiskError(
            f"{folder}: no space left on the disk or quota; make room and start again"
        ) from error


def _is_full(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_LITTLE))
    except OSError as error:
        return out_of_room(error)
    return False
