"""Fetch the released data into the layout the configurations read: ``python -m curr_reft.data.download``.

What is fetched is checked against the hub's digests and kept in `.download` below the data root, so that
another run fetches nothing twice; once all is there it may be deleted. Archives are unpacked, and the rows'
image paths, which are the authors', are made relative to `grpo_data` or `SFT_data`. A row file here that
was edited, or not written by this command, stays unless `--overwrite` is given. A report says what is missing
and where to get it; `download.json` records source, commit, counts and the row files' digests.

Exit code 0: every row file that the configurations name is there, though separate downloads may be missing;
1: some are not in the source; 2: something is broken, or a row file here stayed.

Not tried: the hub itself, which could not be reached where this was written. Its file list is unknown, so
folders and archives are taken as they come; the tests speak the hub's protocol on this machine.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from rich.console import Console

from curr_reft.data.download.image_paths import Images, rewrite_rows
from curr_reft.data.download.layout import lay_out
from curr_reft.data.download.released_files import HUB_ID, TREES
from curr_reft.data.download.report import Outcome, file_table, notes, record_of
from curr_reft.data.download.snapshot import fetch
from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing, room_below
from curr_reft.files.cli import CommandParser
from curr_reft.files.journal import sole_writer

RECORD = "download.json"
_WORK = ".download"


def download(
    source: str, revision: str | None, data_root: Path, rows_only: bool, overwrite: bool = False
) -> Outcome:
    """Fetch, check, unpack and rewrite; whatever is done already is not done again.

    A broken row file is left out and named in the outcome, for the others do not depend on it; so is, unless
    `overwrite`, one whose place has a file that no download wrote.

    Raises:
        InputError: when the source cannot be fetched whole and sound, or the data root not be written.
    """
    work = data_root / _WORK
    if Path(source).is_dir() and data_root.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(f"--output_dir {data_root}: is in the folder that is read ({source}); give another")
    with sole_writer(work):
        folder, commit = fetch(source, revision, work / "hub", rows_only)
        row_files, not_taken = lay_out(folder, data_root, work / "unpacked", rows_only)
        written = _written_before(data_root / RECORD)
        outcome = Outcome(source, commit, rows_only, not_taken, written=written)
        images = {tree: Images(data_root / tree) for tree in TREES}
        for place, released in row_files.items():
            recorded = outcome.written.get(str(place))
            try:
                rows = rewrite_rows(released, data_root / place, images[place.parts[0]], recorded, overwrite)
            except InputError as error:
                outcome.broken[place] = error
            else:
                outcome.rows[place] = rows
                outcome.written[str(place)] = rows.sha256
        with replacing(data_root / RECORD) as file:
            file.write(json.dumps(record_of(outcome), indent=1) + "\n")
    return outcome


def _written_before(record: Path) -> dict[str, str]:
    """What the record says; without a sound one, every row file here counts as not written by a download."""
    try:
        return dict(json.loads(record.read_text("utf-8"))["written"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@command
def main() -> None:
    parser = CommandParser(
        prog="python -m curr_reft.data.download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output_dir", type=Path, default=Path("grpo_sft_data"), help="the data root")
    parser.add_argument("--source", default=HUB_ID, help="a dataset on the hub, or a folder with its files")
    parser.add_argument("--revision", help="branch, tag or commit on the hub (default main)")
    parser.add_argument("--only", choices=["rows"], help="no images and no archives")
    parser.add_argument("--overwrite", action="store_true", help="also row files that were edited here")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with room_below(arguments.output_dir):
        outcome = download(
            arguments.source,
            arguments.revision,
            arguments.output_dir,
            rows_only=bool(arguments.only),
            overwrite=arguments.overwrite,
        )
    console = Console(markup=False, highlight=False)
    console.print(file_table(outcome))
    for note in notes(outcome, arguments.output_dir):
        console.print(f"- {note}", soft_wrap=True)
    if outcome.broken:
        more = f" (and {len(outcome.broken) - 1} more row files)" if len(outcome.broken) > 1 else ""
        raise InputError(f"{next(iter(outcome.broken.values()))}{more}")
    sys.exit(1 if outcome.absent else 0)


if __name__ == "__main__":
    main()
