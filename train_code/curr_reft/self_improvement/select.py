"""Choose the examples to learn from: ``python -m curr_reft.self_improvement.select``.

Of each query the judge's favourite, if its total exceeds the threshold; of each source as many as its quota
says, at most. What one source lacks no other one fills. No answer above the threshold at all makes the exit
code 3.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError, command
from curr_reft.files import journal
from curr_reft.files.cli import CommandParser
from curr_reft.files.manifest import environment, sha256_of
from curr_reft.files.tables import console, to_rich
from curr_reft.self_improvement.judged import content_digests, image_digests
from curr_reft.self_improvement.records import CANDIDATES, SCORES, read_candidates, read_judgements
from curr_reft.self_improvement.select_rows import write_examples
from curr_reft.self_improvement.selection import check_judgements, select
from curr_reft.self_improvement.sources import load_composition
from curr_reft.self_improvement.statistics import selection_table, write_statistics
from curr_reft.sft.images import default_image_dir

logger = logging.getLogger(__name__)

NOTHING_SELECTED = 3


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the examples and the statistics, and print these; exits with `NOTHING_SELECTED` without any."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = _parse(argv)
    composition = load_composition(flags.config)
    with journal.sole_writer(flags.output_dir):
        candidates = read_candidates(flags.output_dir / CANDIDATES)
        judgements = read_judgements(flags.output_dir / SCORES)
        images = image_digests(candidates)
        check_judgements(candidates, judgements, content_digests(candidates, images), composition)
        selection = select(candidates, judgements, composition, images, flags.seed)
        copied = write_examples(flags.output, selection.chosen, flags.image_dir)
        judge = judgements[candidates[0].id]
        settings: dict[str, Any] = {
            "judge": judge.judge,
            "judge_settings": judge.settings,
            "threshold": composition.threshold,
            "seed": flags.seed,
            "config": str(flags.config),
            "config_sha256": sha256_of(flags.config),
            "candidates_sha256": sha256_of(flags.output_dir / CANDIDATES),
            "scores_sha256": sha256_of(flags.output_dir / SCORES),
            "output": str(flags.output),
            "output_sha256": sha256_of(flags.output),
            "images_copied": copied,
            **environment(),
        }
        write_statistics(flags.output_dir, settings, selection, composition)
    console(140).print(to_rich(selection_table(selection, composition, judge.judge)))
    logger.info("wrote %d examples to %s", len(selection.chosen), flags.output)
    for source in composition.sources:
        if short := source.quota - selection.counts[source.name].selected:
            logger.warning("%s: %d examples short of its quota of %d", source.name, short, source.quota)
    if not selection.chosen:
        logger.error("no answer that may be an example has a total above %g", composition.threshold)
        sys.exit(NOTHING_SELECTED)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m curr_reft.self_improvement.select", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--config", type=Path, required=True, help="the sources that were sampled")
    parser.add_argument(
        "--output_dir", type=Path, required=True, metavar="WORK", help=f"folder of {CANDIDATES} and {SCORES}"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE.jsonl", help="rows for ms-swift are written there"
    )
    parser.add_argument(
        "--image_dir",
        type=Path,
        help="for copies of images that were not shown as they are stored (default: images beside the"
        " folder of --output)",
    )
    parser.add_argument("--seed", type=int, default=42, help="of the order of equals (default: 42)")
    flags = parser.parse_args(argv)
    if flags.output.suffix != ".jsonl":
        raise InputError(f"--output {flags.output}: expected a .jsonl file")
    if flags.output.resolve() in {(flags.output_dir / name).resolve() for name in (CANDIDATES, SCORES)}:
        raise InputError(f"--output {flags.output}: is what the examples are chosen from")
    # The lock would make it.
    if not flags.output_dir.is_dir():
        raise InputError(f"--output_dir {flags.output_dir}: no such directory")
    if flags.image_dir is None:
        flags.image_dir = default_image_dir(flags.output)
    return flags


if __name__ == "__main__":
    main()
