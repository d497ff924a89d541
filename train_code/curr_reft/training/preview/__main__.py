"""See the rows of a run before it: ``python -m curr_reft.training.preview --config … --output_dir DIR``.

Writes ``preview.html``, one page that needs nothing else, and ``preview.png``, a contact sheet. Every row is
shown as the model will read it: image after all resizing, boxes, whole prompt, gold, and what the gold
answer and a wrong one earn. All flags of the stage scripts may follow, and are checked as for training; no
weights are loaded.
"""

import logging
import random
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.stages import STAGES, Stage
from curr_reft.training.plan import stages_of
from curr_reft.training.preview.images import contact_sheet
from curr_reft.training.preview.page import Card, cards, render_page
from curr_reft.training.run import Run, prepare

logger = logging.getLogger(__name__)

_MOST_ROWS = 1000


def find_stage(name: str | None, config: str | None) -> Stage:
    """The stage of a name, or else the one that a config's file name holds (``stage1_judge.yaml``).

    Raises:
        InputError: when neither says.
    """
    if name is None:
        stem = Path(config or "").stem
        named = [stage.name for stage in STAGES.values() if stage.title == stem]
        named = named or [part for part in re.split(r"[\W_]", stem) if part in STAGES]
        if len(named) != 1:
            raise InputError(f"no stage: pass --stage {{{','.join(STAGES)}}}, or a --config named after one")
        name = named[0]
    return STAGES[name]


def choose_rows(kinds: Sequence[Hashable], rows: int, seed: int | None) -> list[int]:
    """Indices of rows, taken from their kinds in turn: the first of each, or drawn by `seed`; ascending."""
    by_kind = defaultdict(list)
    for index, kind in enumerate(kinds):
        by_kind[kind].append(index)
    if seed is not None:
        rng = random.Random(seed)
        for indices in by_kind.values():
            rng.shuffle(indices)
    turns = chain.from_iterable(zip_longest(*by_kind.values()))
    return sorted(islice((index for index in turns if index is not None), rows))


def write_preview(run: Run, output_dir: Path, rows: int, seed: int | None) -> None:
    """Write page and contact sheet of some training rows; all of them when there are fewer than `rows`.

    Raises:
        InputError: when they cannot be written.
    """
    plain = run.plan.train.dataset.with_format(None)
    indices = choose_rows(list(zip(plain["stage"], plain["task"], strict=True)), rows, seed)
    if rows >= len(plain):
        shown = f"all {len(plain)} train rows ({rows} asked for)"
    else:
        kind = "task" if len(stages_of(run.plan.train)) == 1 else "task of each stage"
        how = f"the first of each {kind}" if seed is None else f"drawn from each {kind} with seed {seed}"
        shown = f"{rows} of {len(plain)} train rows, {how}"
    found = list(cards(run, indices))
    with replacing(output_dir / "preview.html") as file:
        file.write(render_page(run, shown, found))
    cells = [(card.thumbnail, _caption(card)) for card in found]
    title = f"{run.plan.stage.name}: {shown}. Yellow: gold box; blue: another box"
    with replacing(output_dir / "preview.png", binary=True) as file:
        contact_sheet(title, cells).save(file, "PNG")
    logger.info("wrote preview.html and preview.png to %s: %s", output_dir, shown)


def _caption(card: Card) -> list[str]:
    (_, gold), (_, wrong) = card.answers
    return [
        f"{card.number}. {card.row['task']}, {card.row['stage']}, {Path(card.row['id']).name}",
        card.row["prompt"][0]["content"],
        f"gold: {card.row['solution']}",
        f"earns {gold}",
        f"wrong answer earns {wrong}",
        *(f"! {fault}" for fault in card.faults[:1]),
    ]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Check a stage's data as training does, and show some of it."""
    parser = CommandParser(
        prog="python -m curr_reft.training.preview",
        description=__doc__.split("\n\n")[1],
        epilog="Other flags are those of the stage scripts, such as --dataset_name and --image_root.",
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="a stage's YAML of flags")
    parser.add_argument("--stage", choices=list(STAGES), help="default: what the config's file name says")
    parser.add_argument("--rows", type=int, default=12, help="rows to show, spread over the tasks")
    parser.add_argument("--seed", type=int, help="draw the rows with this seed (default: take the first)")
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR", help="where to write (default: outputs/preview/STAGE)"
    )
    own, flags = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not 1 <= own.rows <= _MOST_ROWS:
        raise InputError(f"--rows {own.rows}: expected 1 to {_MOST_ROWS}")
    stage = find_stage(own.stage, own.config)
    output_dir = own.output_dir or Path("outputs/preview") / stage.name
    try:
        # Before the check of all images, which takes long.
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {output_dir}: cannot be made ({error.strerror})") from error
    config = ["--config", own.config] if own.config else []
    # A few rows can be looked at before there are enough for a step.
    one_prompt = ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "1"]
    fixed = ["--output_dir", str(output_dir), "--dry_run", *one_prompt]
    run = prepare(stage, [*config, *flags, *fixed])
    write_preview(run, output_dir, own.rows, own.seed)


if __name__ == "__main__":
    main()
