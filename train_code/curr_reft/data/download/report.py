"""What a download brought, as a table, as notes on what is missing, and as a record."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rich.table import Table

from curr_reft.data.download.image_paths import KeptFileError, RewrittenRows
from curr_reft.data.download.released_files import EXPECTED, separate_images
from curr_reft.errors import InputError

_EXAMPLES = 5
_EXPECTED = {PurePosixPath(file.path): file for file in EXPECTED}


@dataclass(slots=True)
class Outcome:
    """Everything one download did."""

    source: str
    commit: str | None
    """The hub's; `None` for a folder."""
    rows_only: bool
    not_taken: list[Path]
    """Released files that are neither rows nor images of a known place."""
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


def file_table(outcome: Outcome) -> Table:
    """A line for each expected row file, then for each other one; optional ones only when they are there."""
    title = f"{outcome.source}, {outcome.commit or 'a folder'}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("row file", overflow="fold")
    for column in ("rows", "reported", "images", "missing"):
        table.add_column(column, justify="right")
    folder = None
    expected = [path for path, file in _EXPECTED.items() if path in outcome.found or not file.optional]
    for path in [*expected, *sorted(outcome.found - _EXPECTED.keys())]:
        if path.parent != folder:
            folder = path.parent
            table.add_row(f"{folder}/", style="bold")
        reported = " or ".join(map(str, _EXPECTED[path].reported)) if path in _EXPECTED else ""
        if rows := outcome.rows.get(path):
            table.add_row(path.name, str(rows.rows), reported, str(len(rows.found)), str(len(rows.missing)))
        else:
            error = outcome.broken.get(path)
            left_out = "kept" if isinstance(error, KeptFileError) else "broken" if error else "absent"
            table.add_row(path.name, left_out, reported)
    return table


def notes(outcome: Outcome, data_root: Path) -> Iterator[str]:
    """What is not as expected, and what to do about it."""
    left_out = "left out by --only rows" if outcome.rows_only else ""
    if outcome.absent:
        yield (
            f"absent: {len(outcome.absent)} row files that the configurations name; the source has them under"
            " no folder" + (f" (archives were {left_out})" if left_out else "")
        )
    by_name = set().union(*(rows.by_name for rows in outcome.rows.values()))
    if by_name:
        yield f"found by file name alone: {len(by_name)} images, such as {_some(by_name)}; check one"
    for (name, url), images in sorted(outcome.missing().items()):
        if name:
            yield (
                f"missing: {len(images)} images of {name}, which are not on the hub: get {url},"
                f" unpack it anywhere below {data_root}/grpo_data/images and run this command again"
            )
        else:
            reason = left_out or "the source has no such files, or several of the name"
            yield f"missing: {len(images)} other images ({reason}), such as {_some(images)}"
    if outcome.not_taken:
        yield (
            f"not taken, being neither rows nor images: {_some(set(map(str, outcome.not_taken)))}; unpack"
            f" archives among them by hand below {data_root} and run this command again"
        )


def _some(paths: set[str]) -> str:
    more = f" and {len(paths) - _EXAMPLES} more" if len(paths) > _EXAMPLES else ""
    return ", ".join(sorted(paths)[:_EXAMPLES]) + more


def record_of(outcome: Outcome) -> dict[str, Any]:
    """What `download.json` holds: source, commit, counts, and the digests of the row files written."""
    return {
        "source": outcome.source,
        "commit": outcome.commit,
        "rows": {
            str(place): {"rows": rows.rows, "found": len(rows.found), "missing": len(rows.missing)}
            for place, rows in sorted(outcome.rows.items())
        },
        "written": dict(sorted(outcome.written.items())),
    }
