"""Released files in the layout of `grpo_sft_data`: archives unpacked, images put into place, rows found."""

import filecmp
import logging
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from curr_reft.data.download.released_files import IMAGE_SUFFIXES, is_rows, place_of, row_places
from curr_reft.data.download.snapshot import files_below
from curr_reft.errors import InputError

logger = logging.getLogger(__name__)

_ARCHIVE = re.compile(r"(.+)\.(zip|tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)", re.IGNORECASE)


def lay_out(
    folder: Path, data_root: Path, unpacked: Path, rows_only: bool
) -> tuple[dict[PurePosixPath, Path], list[Path]]:
    """Put the images of a folder of released files into place, and find the rows.

    Archives are unpacked below `unpacked`, once; their files take the places of files beside the archive.

    Returns:
        The released row file for each place under the data root, and the files that were not taken: cards,
        licences, archives of other formats or within archives, and rows whose place is taken.

    Raises:
        InputError: when an archive cannot be unpacked or a file not be written.
    """
    rows: dict[PurePosixPath, Path] = {}
    not_taken = []
    try:
        for path, file in sorted(_all_files(folder, unpacked, rows_only).items()):
            if is_rows(path):
                rows[path] = file
            elif path.suffix.lower() in IMAGE_SUFFIXES and (place := place_of(path)):
                _link(file, data_root / place)
            else:
                not_taken.append(file)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be put into place ({error.strerror})") from error
    places = row_places(rows)
    placed: dict[PurePosixPath, Path] = {}
    for path, file in rows.items():
        if path not in places or places[path] in placed:
            not_taken.append(file)
        else:
            placed[places[path]] = file
    return placed, not_taken


def _all_files(folder: Path, unpacked: Path, rows_only: bool) -> dict[PurePosixPath, Path]:
    """Released paths and where they lie, those in archives as if they lay beside the archive.

    What an archive holds goes below a folder of the archive's name, which it may bring along itself.
    """
    files = {}
    for path in files_below(folder):
        if rows_only and not is_rows(path):
            continue
        file = folder / path
        archive = _ARCHIVE.fullmatch(path.name)
        if archive is None:
            files[path] = file
            continue
        status = file.stat()
        target = unpacked / f"{path}-{status.st_size}-{status.st_mtime_ns}"
        if not target.is_dir():
            _unpack(file, target)
        for member in files_below(target):
            beside = path.parent if member.parts[0] == archive[1] else path.parent / archive[1]
            files[beside / member] = target / member
    return files


def _unpack(archive: Path, target: Path) -> None:
    """Unpack an archive that nobody has looked into; `target` is whole or not there.

    zipfile writes regular files below the target alone, whatever members are called.
    """
    logger.info("unpacking %s", archive)
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(part)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(part, filter=_regular)
        part.rename(target)
    # What damaged or encrypted archives raise, beyond the modules' own errors.
    except (
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
        *(OSError, EOFError, ValueError, OverflowError, RuntimeError),
    ) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{archive}: cannot be unpacked ({reason}); if broken, fetch it again") from error


def _regular(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo:
    # Stricter than the filter of tarfile, which lets links within the target pass.
    if not (member.isfile() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, target)


def _link(source: Path, target: Path) -> None:
    # Of a mirror made by huggingface_hub the files are links themselves.
    source = source.resolve()
    if target.is_file() and (target.samefile(source) or filecmp.cmp(source, target)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, part)
    part.replace(target)
