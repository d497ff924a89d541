"""What a download brought, as a table, as notes on what is missing, and as a record."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rich.table import Table

from curr_reft.data.download.image_paths import KeptFileError, RewrittenRows
from curr_reft.data.download.layout import Layout
from curr_reft.data.download.released_files import EXPECTED, RowFile, separate_images
from curr_reft.data.download.snapshot import Snapshot
from curr_reft.errors import InputError

_EXAMPLES = 3
_EXPECTED = {PurePosixPath(file.path): file for file in EXPECTED}


@dataclass(slots=True)
class Outcome:
    """Everything one download did."""

    snapshot: Snapshot
    layout: Layout
    rows_only: bool
    rows: dict[PurePosixPath, RewrittenRows] = field(default_factory=dict)
    """By place under the data root."""
    broken: dict[PurePosixPath, InputError] = field(default_factory=dict)
    """Why a row file was left out."""
    written: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each row file as this or an earlier download last wrote it, by place."""

    @property
    def absent(self) -> list[PurePosixPath]:
        """Row files that the stages' configurations name and the source has not."""
        return [path for path, file in _EXPECTED.items() if path not in self.found and not file.optional]

    @property
    def found(self) -> set[PurePosixPath]:
        """Places of the row files that the source has."""
        return self.rows.keys() | self.broken.keys()

    def missing(self) -> dict[tuple[str, str], set[str]]:
        """Released paths of images that are not here, by the name and address of the download they are in.

        Name and address are empty for images that should be in the source.
        """
        groups: dict[tuple[str, str], set[str]] = {}
        for place, rows in self.rows.items():
            for image in rows.missing:
                separate = separate_images(str(place), image)
                key = (separate.name, separate.url) if separate else ("", "")
                groups.setdefault(key, set()).add(image)
        return groups


def _deviates(file: RowFile, outcome: Outcome) -> bool:
    counted = outcome.rows[PurePosixPath(file.path)].rows
    completing = outcome.rows.get(PurePosixPath(file.completed_by))
    with_val = (counted or 0) + ((completing.rows or 0) if completing else 0)
    return bool(file.reported) and counted not in file.reported and with_val not in file.reported


def _numbers(numbers: tuple[int, ...]) -> str:
    return " or ".join(map(str, numbers))


def _needs_images(place: PurePosixPath) -> bool:
    # Rows of SFT_data may be text only.
    return place.parts[0] == "grpo_data"


def _left_out(error: InputError | None) -> str:
    if error is None:
        return "absent"
    return "kept" if isinstance(error, KeptFileError) else "broken"


def file_table(outcome: Outcome) -> Table:
    """A line for each expected row file, then for each other one; optional ones only when they are there."""
    title = f"{outcome.snapshot.source}, {outcome.snapshot.commit or 'a folder'}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("row file", overflow="fold")
    for column in ("rows", "reported", "images", "missing", "no image"):
        table.add_column(column, justify="right")
    folder = None
    expected = [path for path, file in _EXPECTED.items() if path in outcome.found or not file.optional]
    for path in [*expected, *sorted(outcome.found - _EXPECTED.keys())]:
        if path.parent != folder:
            folder = path.parent
            table.add_row(f"{folder}/", style="bold")
        reported = _numbers(_EXPECTED[path].reported) if path in _EXPECTED else ""
        if path in outcome.rows:
            rows = outcome.rows[path]
            count = "no rows" if rows.rows is None else str(rows.rows)
            missing = len(rows.missing) + len(rows.ambiguous)
            without = str(len(rows.no_image)) if _needs_images(path) else ""
            table.add_row(path.name, count, reported, str(len(rows.found)), str(missing), without)
        else:
            table.add_row(path.name, _left_out(outcome.broken.get(path)), reported)
    return table


def notes(outcome: Outcome, data_root: Path) -> Iterator[str]:
    """What is not as expected, and what to do about it."""
    if outcome.absent:
        yield (
            f"absent: {len(outcome.absent)} row files that the configurations name; the source has them under"
            " no folder" + (" (archives were left out by --only rows)" if outcome.rows_only else "")
        )
    for path, file in _EXPECTED.items():
        if path in outcome.rows and _deviates(file, outcome):
            yield f"{path}: {outcome.rows[path].rows} rows; reported are {_numbers(file.reported)}"
    for (name, url), images in sorted(outcome.missing().items()):
        if name:
            yield (
                f"missing: {len(images)} images of {name}, which are not on the hub: get {url},"
                f" unpack it anywhere below {data_root}/grpo_data/images and run this command again"
            )
        else:
            reason = "left out by --only rows" if outcome.rows_only else "the source has no such files"
            yield f"missing: {len(images)} other images ({reason}), such as {_some(images)}"
    for path, rows in outcome.rows.items():
        if rows.no_image and _needs_images(path):
            first = rows.no_image[0]
            yield f"{path}: {len(rows.no_image)} rows name no image in `image`; the first: {first}"
        if rows.ambiguous:
            yield (
                f"{path}: {len(rows.ambiguous)} images have namesakes that their paths do not tell apart;"
                f" none was chosen, such as for {_some(rows.ambiguous)}"
            )
        if rows.by_name_alone:
            released, here = next(iter(rows.by_name_alone.items()))
            yield (
                f"{path}: {len(rows.by_name_alone)} images were found by file name alone; check one:"
                f" {here} for {released}"
            )
    for path in outcome.layout.not_unpacked:
        yield f"not unpacked: {path}; unpack it by hand below {data_root} and run this command again"
    if outcome.layout.unplaced:
        yield f"not taken, having no place of their own: {_some(set(map(str, outcome.layout.unplaced)))}"


def _some(paths: set[str]) -> str:
    more = f" and {len(paths) - _EXAMPLES} more" if len(paths) > _EXAMPLES else ""
    return ", ".join(sorted(paths)[:_EXAMPLES]) + more


def record_of(outcome: Outcome) -> dict[str, Any]:
    """What `download.json` holds: source, commit, digests of what was fetched, what became of it."""
    return {
        "source": outcome.snapshot.source,
        "commit": outcome.snapshot.commit,
        "rows_only": outcome.rows_only,
        "sha256": {str(path): digest for path, digest in sorted(outcome.snapshot.digests.items())},
        "rows": {
            str(place): {
                "rows": rows.rows,
                "found": len(rows.found),
                "found_by_name_alone": len(rows.by_name_alone),
                "ambiguous": len(rows.ambiguous),
                "missing": len(rows.missing),
                **({"no_image": len(rows.no_image)} if _needs_images(place) else {}),
            }
            for place, rows in sorted(outcome.rows.items())
        },
        "broken": {str(place): str(error) for place, error in sorted(outcome.broken.items())},
        "written": dict(sorted(outcome.written.items())),
        "absent": [str(path) for path in outcome.absent],
        "missing": {name or "other": len(images) for (name, _), images in outcome.missing().items()},
        "not_unpacked": [path.name for path in outcome.layout.not_unpacked],
    }
