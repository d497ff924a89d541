"""See the rows of a run before it: ``python -m curr_reft.data.preview --config … --output_dir DIR``.

Writes ``preview.html``, one page that needs nothing else, and ``preview.png``, a contact sheet. Every row is
shown as the model will read it: picture after all resizing, boxes, whole prompt, gold, and what the gold
answer and a wrong one earn. All flags of the stage scripts may follow, and are checked as for training; no
weights are loaded.
"""

import argparse
import base64
import io
import logging
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from curr_reft.atomic_file import replacing
from curr_reft.data.boxes import Size, box_fault
from curr_reft.data.dataset import processed_size, render_prompt
from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.data.preview_pictures import Mark, contact_sheet, marks_of, page_picture, sheet_picture
from curr_reft.errors import InputError, command
from curr_reft.plan import rewards_of, spell_rewards
from curr_reft.stages import STAGES, TASKS, Stage
from curr_reft.training import Run, prepare

logger = logging.getLogger(__name__)

_MOST_ROWS = 1000
_SHOWN_REASONS = 50


@dataclass(frozen=True)
class Card:
    """All that is shown of one row."""

    number: int
    row: dict[str, Any]
    image: str
    """The picture's path, relative to the image root."""
    sizes: dict[str, Size]
    """Width and height of the picture in each frame, by the frame's name."""
    zoom: float
    picture: str
    """A data URI; JPEG, so that a page of many photographs stays small."""
    thumbnail: Image.Image
    marks: list[Mark]
    prompt: str
    answers: list[tuple[str, str]]
    """The gold completion and a wrong one, each with its rewards."""
    faults: list[str]
    image_tokens: int
    prompt_tokens: int


def find_stage(name: str | None, config: str | None) -> Stage:
    """The stage of a name, or else the one that a config's file name holds (``stage1_judge.yaml``).

    Raises:
        InputError: when neither says.
    """
    found = (
        [name] if name else [part for part in re.split(r"[\W_]", Path(config or "").stem) if part in STAGES]
    )
    if len(found) != 1:
        names = ", ".join(STAGES)
        raise InputError(f"--config {config}: its name does not say the stage; pass --stage, one of {names}")
    return STAGES[found[0]]


def choose_rows(tasks: Sequence[str], rows: int, seed: int | None) -> list[int]:
    """Indices of rows, taken from the tasks in turn: the first of each, or drawn by `seed`; ascending."""
    by_task = defaultdict(list)
    for index, task in enumerate(tasks):
        by_task[task].append(index)
    if seed is not None:
        rng = random.Random(seed)
        for indices in by_task.values():
            rng.shuffle(indices)
    turns = chain.from_iterable(zip_longest(*by_task.values()))
    return sorted(islice((index for index in turns if index is not None), rows))


def cards(run: Run, indices: Sequence[int]) -> Iterator[Card]:
    """What is shown of the training rows with these indices."""
    split = run.plan.train
    plain = split.dataset.with_format(None)
    for number, index in enumerate(indices, start=1):
        row = plain[index]
        picture, sizes = _processed(run, row)
        frame = sizes[run.data.box_frame]
        marks = marks_of(row)
        on_page, zoom = page_picture(picture, marks, frame)
        answers = rewards_of(row, run.plan.stage, run.data.reward_funcs, run.data.reward_variant)
        faults = [f"{mark.label}: {fault}" for mark in marks if (fault := box_fault(mark.box, frame))]
        gold, wrong = (sum(rewards.values()) for _, rewards in answers)
        if gold <= wrong:
            faults.append("the gold answer earns no more than the wrong one")
        yield Card(
            number=number,
            row=row,
            image=os.path.relpath(row["image"], run.data.image_root),
            sizes=sizes,
            zoom=zoom,
            picture=_data_uri(on_page),
            thumbnail=sheet_picture(picture, marks, frame),
            marks=marks,
            prompt=render_prompt(run.processor, row["prompt"][0]["content"]),
            answers=[(completion, spell_rewards(rewards)) for completion, rewards in answers],
            faults=faults,
            image_tokens=split.image_tokens[index],
            prompt_tokens=split.prompt_tokens[index],
        )


def _processed(run: Run, row: dict[str, Any]) -> tuple[Image.Image, dict[str, Size]]:
    """A row's picture as the processor resizes it, and its size in each frame."""
    stored = open_image(Path(row["image"]))
    budget = fit_to_budget(stored, run.plan.stage.budget(row["task"]))
    resample = Image.Resampling(run.processor.image_processor.resample)
    processed = budget.resize(processed_size(budget.size, run.processor), resample)
    return processed, {"stored": stored.size, "budget": budget.size, "processed": processed.size}


def _data_uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def header(run: Run, shown: str) -> list[tuple[str, str]]:
    """What holds for all rows, as names and values."""
    plan, data = run.plan, run.data
    splits = {"train": plan.train, "val": plan.val}
    size = run.processor.image_processor.size
    facts = [("rows shown", shown)]
    for name, split in splits.items():
        if split is not None:
            counts = sorted(Counter(split.dataset.with_format(None)["task"]).items())
            listing = ", ".join(f"{task} {count}" for task, count in counts)
            facts.append((f"{name} rows", f"{len(split.dataset)} ({listing})"))
    too_long = [f"{len(split.too_long)} {name}" for name, split in splits.items() if split is not None]
    facts += [
        ("dropped, bad picture or bad gold box", f"{len(plan.dropped)} rows"),
        ("dropped, prompt too long", f"{' and '.join(too_long)} rows, over {data.max_prompt_length} tokens"),
        ("mixture", data.dataset_name),
        ("image root", data.image_root),
        ("model and processor", f"{run.model.model_name_or_path} (revision {run.model.model_revision})"),
        ("the stage's image budget", "; ".join(_budgets(plan.stage))),
        ("the processor's pixel limits", f"{size['shortest_edge']} to {size['longest_edge']} pixels"),
        ("box frame", f"{data.box_frame} (boxes of detection rows are in its pixels)"),
        ("rewards", f"{' + '.join(data.reward_funcs)}, variant {data.reward_variant}"),
    ]
    if run.config.reward_weights is not None:
        facts.append(("reward weights, not applied here", " ".join(map(str, run.config.reward_weights))))
    return facts


def _budgets(stage: Stage) -> Iterator[str]:
    for task in TASKS:
        budget = stage.budget(task)
        if budget is None:
            yield f"{task}: none"
        else:
            yield f"{task}: above {budget.trigger} pixels to at most {budget.max_pixels}"


def write_preview(run: Run, output_dir: Path, rows: int, seed: int | None) -> None:
    """Write page and contact sheet of some training rows.

    Raises:
        InputError: when they cannot be written.
    """
    tasks = run.plan.train.dataset.with_format(None)["task"]
    indices = choose_rows(tasks, rows, seed)
    shown = f"{len(indices)} of {len(tasks)} train rows, "
    if rows >= len(tasks):
        shown += f"which are all ({rows} asked for)"
        logger.info("the mixture has %d train rows; all are shown", len(tasks))
    else:
        shown += "the first of each task" if seed is None else f"drawn from each task with seed {seed}"
    found = list(cards(run, indices))
    title = f"Stage {run.plan.stage.number}, {run.plan.stage.name}"
    template = Path(__file__).with_name("preview.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(template)
    with replacing(output_dir / "preview.html") as file:
        file.write(
            page.render(
                title=title,
                facts=header(run, shown),
                files=run.mixture.files,
                dropped=list(run.plan.dropped.items())[:_SHOWN_REASONS],
                dropped_count=len(run.plan.dropped),
                notes=run.plan.notes,
                box_frame=run.data.box_frame,
                cards=found,
            )
        )
    cells = [(card.thumbnail, _caption(card)) for card in found]
    _write_png(contact_sheet(f"{title}: {shown}", cells), output_dir / "preview.png")
    logger.info("wrote preview.html and preview.png to %s (%s)", output_dir, shown)


def _caption(card: Card) -> list[str]:
    (_, gold), (_, wrong) = card.answers
    return [
        f"{card.number}. {card.row['task']}, {Path(card.row['id']).name}",
        card.row["prompt"][0]["content"],
        f"gold: {card.row['solution']}",
        f"earns {gold}",
        f"wrong answer earns {wrong}",
        *(f"! {fault}" for fault in card.faults[:1]),
    ]


def _write_png(picture: Image.Image, path: Path) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        picture.save(part, "PNG")
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Check a stage's data as training does, and show some of it."""
    parser = argparse.ArgumentParser(
        prog="python -m curr_reft.data.preview",
        description=__doc__.split("\n\n")[1],
        epilog="Other flags are those of the stage scripts, such as --dataset_name, --image_root, --box_frame.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="a stage's YAML of flags")
    parser.add_argument("--stage", choices=list(STAGES), help="default: what the config's file name says")
    parser.add_argument("--rows", type=int, default=12, help="rows to show, spread over the tasks")
    parser.add_argument("--seed", type=int, help="draw the rows with this seed (default: take the first)")
    parser.add_argument("--output_dir", type=Path, required=True, metavar="DIR", help="where to write")
    own, flags = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not 1 <= own.rows <= _MOST_ROWS:
        raise InputError(f"--rows {own.rows}: expected 1 to {_MOST_ROWS}")
    stage = find_stage(own.stage, own.config)
    config = ["--config", own.config] if own.config else []
    run = prepare(stage, [*config, *flags, "--output_dir", str(own.output_dir), "--dry_run"])
    write_preview(run, own.output_dir, own.rows, own.seed)


if __name__ == "__main__":
    main()
