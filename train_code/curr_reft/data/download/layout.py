"""Released files in the layout of `grpo_sft_data`: images linked or unpacked into place, rows found."""

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from curr_reft.data.download.archives import Archive, find_archives, unpack
from curr_reft.data.download.released_files import ROW_SUFFIXES, place_of, row_places
from curr_reft.data.download.snapshot import Snapshot
from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing

_PLACED = ".placed"


@dataclass(slots=True)
class Layout:
    """What became of the files of a snapshot, apart from the images."""

    rows: dict[PurePosixPath, Path] = field(default_factory=dict)
    """The released row file for each place under the data root."""
    not_unpacked: list[Path] = field(default_factory=list)
    """Archives of other formats, and archives within archives."""
    unplaced: list[PurePosixPath] = field(default_factory=list)
    """Cards, licences, and whatever else has no place, or one that is taken."""


def lay_out(snapshot: Snapshot, data_root: Path, unpacked: Path) -> Layout:
    """Put everything but rows into place, from archives too, and say which released row file goes where.

    Row files of archives stay in `unpacked`, in a folder named by the archive's digest; an archive that is
    there and whose files are all in place is not unpacked again.

    Raises:
        InputError: when an archive cannot be unpacked or a file not be written.
    """
    archives, unsupported = find_archives(snapshot.digests)
    layout = Layout(not_unpacked=[snapshot.folder / path for path in unsupported])
    apart = {*unsupported, *(piece for archive in archives for piece in archive.pieces)}
    rows: dict[PurePosixPath, Path] = {}
    try:
        for path in sorted(snapshot.digests.keys() - apart):
            if path.suffix in ROW_SUFFIXES:
                rows[path] = snapshot.folder / path
            elif (place := place_of(path)) is not None:
                _link(snapshot.folder / path, data_root / place)
            else:
                layout.unplaced.append(path)
        for archive in archives:
            digests = "".join(snapshot.digests[piece] for piece in archive.pieces)
            folder = unpacked / hashlib.sha256(digests.encode()).hexdigest()
            if not _is_placed(folder, data_root):
                shutil.rmtree(folder, ignore_errors=True)
                unpack(archive, snapshot.folder, folder)
                _move_into_place(archive, folder, data_root)
            members = list(_files(folder))
            layout.not_unpacked += [folder / name for name in _nested(members)]
            rows |= {archive.place(name): folder / name for name in members if name.suffix in ROW_SUFFIXES}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be put into place ({error.strerror})") from error
    places = row_places(rows)
    for path in sorted(rows):
        if path not in places or places[path] in layout.rows:
            layout.unplaced.append(path)
        else:
            layout.rows[places[path]] = rows[path]
    return layout


def _files(folder: Path) -> Iterator[PurePosixPath]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield PurePosixPath(path.relative_to(folder).as_posix())


def _nested(members: list[PurePosixPath]) -> list[PurePosixPath]:
    archives, unsupported = find_archives(members)
    return [*unsupported, *(piece for archive in archives for piece in archive.pieces)]


def _link(source: Path, target: Path) -> None:
    # Of a mirror made by huggingface_hub the files are links themselves.
    source = source.resolve()
    if target.is_file() and (target.samefile(source) or filecmp.cmp(source, target, shallow=False)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, part)
    part.replace(target)


def _is_placed(folder: Path, data_root: Path) -> bool:
    record = folder / _PLACED
    return record.is_file() and all((data_root / place).is_file() for place in json.loads(record.read_text()))


def _move_into_place(archive: Archive, folder: Path, data_root: Path) -> None:
    members = list(_files(folder))
    places = []
    for name in set(members) - set(_nested(members)):
        place = place_of(archive.place(name))
        if name.suffix not in ROW_SUFFIXES and place is not None:
            (data_root / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(data_root / place)
            places.append(str(place))
    # The last step: without it the next run unpacks again.
    with replacing(folder / _PLACED) as file:
        json.dump(sorted(places), file, indent=1)
