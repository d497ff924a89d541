"""Unpacking zip and tar archives that nobody has looked into.

A member may only become a regular file below the target. Whatever else an archive asks for (a path that
leaves the target or is taken, a link, a device, more room than there is) refuses the whole archive: nothing
of it stays.
"""

import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from tqdm import tqdm

from curr_reft.errors import InputError

_MAX_EXPANSION = 100
_SMALL = 10 * 2**20
"""Below this many bytes a high expansion is harmless: a small archive of empty tables."""
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")
_TARS = r"tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz"
_ZIP = re.compile(r"(?P<stem>.+)\.zip", re.IGNORECASE)
_TAR = re.compile(rf"(?P<stem>.+)\.({_TARS})", re.IGNORECASE)
_PIECE = re.compile(rf"(?P<whole>.+\.(zip|{_TARS}))[._-]?(part)?[._-]?([a-z]{{2}}|\d{{1,4}})", re.IGNORECASE)
_UNSUPPORTED = re.compile(r".+\.(rar|7z|zst|z\d\d)", re.IGNORECASE)
# Beyond the declared ones, these come out of zipfile and tarfile for headers of random bytes.
_CORRUPT = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    OverflowError,
)


class _RefusedError(Exception):
    """A member that is not unpacked; the message says which and why, the caller adds the archive."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive, maybe cut into pieces."""

    path: PurePosixPath
    """Without the ending of a piece."""
    pieces: tuple[PurePosixPath, ...]

    def place(self, member: PurePosixPath) -> PurePosixPath:
        """A member's path beside the archive, in a folder of the archive's name."""
        stem = _format(self.path.name)["stem"]
        folder = self.path.parent if member.parts[0] == stem else self.path.parent / stem
        return folder / member


def _format(name: str) -> re.Match[str] | None:
    return _ZIP.fullmatch(name) or _TAR.fullmatch(name)


def find_archives(paths: Iterable[PurePosixPath]) -> tuple[list[Archive], list[PurePosixPath]]:
    """The archives among files, and the files that look like archives but cannot be unpacked here.

    Those are other formats, and zips split by a zip program, whose pieces are no plain cuts.
    """
    names = set(paths)
    pieces: dict[PurePosixPath, list[PurePosixPath]] = {}
    unsupported = []
    for path in sorted(names, key=lambda path: (len(path.name), path)):
        if _UNSUPPORTED.fullmatch(path.name) or path.with_suffix(".z01") in names:
            unsupported.append(path)
        elif _format(path.name):
            pieces[path] = [path]
        elif piece := _PIECE.fullmatch(path.name):
            pieces.setdefault(path.with_name(piece["whole"]), []).append(path)
    return [Archive(whole, tuple(parts)) for whole, parts in pieces.items()], unsupported


def unpack(archive: Archive, folder: Path, target: Path) -> None:
    """Unpack an archive that lies in `folder` into the new folder `target`.

    Raises:
        InputError: when the archive is corrupt, encrypted or a bomb, asks for something it may not, or the
            disk is full; `target` is not there then.
    """
    pieces = [folder / piece for piece in archive.pieces]
    more = f" and {len(pieces) - 1} more pieces" if len(pieces) > 1 else ""
    where = f"{pieces[0]}{more}"
    read = _zip_members if _ZIP.fullmatch(archive.path.name) else _tar_members
    with ExitStack() as undo:
        try:
            target.mkdir(parents=True)
            undo.callback(shutil.rmtree, target)
            with _opened(pieces, target) as file:
                size = file.seek(0, os.SEEK_END)
                room = _Room(max(_MAX_EXPANSION * size, _SMALL), shutil.disk_usage(target).free)
                file.seek(0)
                for name, member in tqdm(read(file, room), f"unpacking {archive.path.name}", unit="file"):
                    _write(name, member, target)
        except _RefusedError as error:
            raise InputError(f"{where}: not unpacked: {error}") from error
        except NotImplementedError as error:
            raise InputError(f"{where}: not unpacked ({error}); unpack it with another program") from error
        except (OSError, *_CORRUPT) as error:
            # gzip and bz2 report bad data as an OSError that no system call gave.
            if getattr(error, "errno", None) is not None:
                raise InputError(
                    f"{where}: cannot be unpacked ({error.strerror}: {error.filename})"
                ) from error
            reason = str(error).partition("\n")[0]
            raise InputError(f"{where}: truncated or corrupt ({reason}); fetch it again") from error
        undo.pop_all()


@dataclass(frozen=True, slots=True)
class _Room:
    expansion: int
    disk: int

    def check(self, size: int) -> None:
        if size > self.expansion:
            raise _RefusedError(f"it unpacks to more than {_MAX_EXPANSION} times its size, like a bomb")
        if size > self.disk:
            raise _RefusedError(f"it needs {size:,} bytes and the disk has {self.disk:,} left for it")


@contextmanager
def _opened(pieces: Sequence[Path], folder: Path) -> Iterator[BinaryIO]:
    with pieces[0].open("rb") as first:
        if len(pieces) == 1:
            yield first
            return
    with tempfile.TemporaryFile(dir=folder) as joined:
        for piece in pieces:
            with piece.open("rb") as file:
                shutil.copyfileobj(file, joined)
        yield joined


def _zip_members(file: BinaryIO, room: _Room) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with zipfile.ZipFile(file) as archive:
        # zipfile reads no more of a member than its declared size, so the sum is a bound.
        room.check(sum(info.file_size for info in archive.infolist()))
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise _RefusedError(f"{info.filename!r} is encrypted")
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _RefusedError(f"{info.filename!r} is a link or a device")
            if not info.is_dir():
                yield info.filename, lambda info=info: archive.open(info)


def _tar_members(file: BinaryIO, room: _Room) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with tarfile.open(fileobj=file, mode="r:*", errors="replace") as archive:
        size = 0
        for info in archive:
            size += info.size
            room.check(size)
            if not info.isfile() and not info.isdir():
                raise _RefusedError(f"{info.name!r} is a link or a device")
            if info.isfile():
                yield info.name, lambda info=info: archive.extractfile(info)
        # tarfile takes a header that is cut short for the end.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise EOFError("the end of the archive is missing")
        # A compressed file's checksum is behind what tarfile reads.
        while archive.fileobj.read(2**20):
            pass


def _write(name: str, member: Callable[[], IO[bytes]], target: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise _RefusedError(f"{name!r} would leave the folder it is unpacked into")
    if any(part in _JUNK or part.startswith("._") for part in path.parts):
        return
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    if (target / path).exists():
        raise _RefusedError(f"{name!r} has the path of an earlier member")
    with member() as source, (target / path).open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)
