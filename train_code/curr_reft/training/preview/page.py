"""The page of the preview: what is shown of each row and of the run."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from curr_reft.boxes import Size, box_fault
from curr_reft.data.dataset import open_shown
from curr_reft.data.images import open_image
from curr_reft.data.prompts import processed_size, render_prompt
from curr_reft.files.html import jpeg_uri, render_template
from curr_reft.stages import STAGES, stage_of
from curr_reft.tasks.registry import known_tasks
from curr_reft.training.plan import rewards_of, rows_by_task, spell_rewards, stages_of
from curr_reft.training.preview.images import Mark, marks_of, page_image, sheet_image
from curr_reft.training.run import Run

_TEMPLATE = Path(__file__).with_name("preview.html.j2")
_SHOWN_REASONS = 50


@dataclass(frozen=True)
class Card:
    """All that is shown of one row."""

    number: int
    row: dict[str, Any]
    image: str
    """The image's path, relative to the image root."""
    sizes: dict[str, Size]
    """Width and height of the image in each frame, by the frame's name."""
    zoom: float
    shown: str
    """A data URI; JPEG, so that a page of many photographs stays small."""
    thumbnail: Image.Image
    marks: list[Mark]
    prompt: str
    answers: list[tuple[str, str]]
    """The gold completion and a wrong one, each with its rewards."""
    faults: list[str]
    image_tokens: int
    prompt_tokens: int


def cards(run: Run, indices: Sequence[int]) -> Iterator[Card]:
    """What is shown of the training rows with these indices."""
    split = run.plan.train
    plain = split.dataset.with_format(None)
    for number, index in enumerate(indices, start=1):
        row = plain[index]
        image, sizes = processed_image(run, row)
        frame = sizes[run.data.box_frame]
        marks = marks_of(row)
        on_page, zoom = page_image(image, marks, frame)
        answers = rewards_of(row, run.data.reward_funcs, run.data.reward_variant)
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
            shown=jpeg_uri(on_page, quality=90, subsampling=0),
            thumbnail=sheet_image(image, marks, frame),
            marks=marks,
            prompt=render_prompt(run.processor, row["prompt"][0]["content"]),
            answers=[(completion, spell_rewards(rewards)) for completion, rewards in answers],
            faults=faults,
            image_tokens=split.image_tokens[index],
            prompt_tokens=split.prompt_tokens[index],
        )


def processed_image(run: Run, row: dict[str, Any]) -> tuple[Image.Image, dict[str, Size]]:
    """A row's image as the processor resizes it, and its size in each frame."""
    stored = open_image(Path(row["image"]))
    budget = open_shown(row["image"], row["stage"], row["task"])
    resample = Image.Resampling(run.processor.image_processor.resample)
    processed = budget.resize(processed_size(budget.size, run.processor), resample)
    return processed, {"stored": stored.size, "budget": budget.size, "processed": processed.size}


def header(run: Run, shown: str) -> list[tuple[str, str]]:
    """What holds for all rows, as names and values."""
    plan, data = run.plan, run.data
    splits = {"train": plan.train, "val": plan.val}
    size = run.processor.image_processor.size
    facts = [("rows shown", shown)]
    for name, split in splits.items():
        if split is not None:
            facts.append((f"{name} rows", rows_by_task(split)))
    too_long = [f"{len(split.too_long)} {name}" for name, split in splits.items() if split is not None]
    facts += [
        ("dropped, bad image or bad gold box", f"{len(plan.dropped)} rows"),
        ("dropped, prompt too long", f"{' and '.join(too_long)} rows, over {data.max_prompt_length} tokens"),
        ("mixture", data.dataset_name),
        ("image root", data.image_root),
        ("model and processor", f"{run.model.model_name_or_path} (revision {run.model.model_revision})"),
        ("the stage's image budget", "; ".join(_budgets(stages_of(plan.train)))),
        ("the processor's pixel limits", f"{size['shortest_edge']} to {size['longest_edge']} pixels"),
        ("box frame", f"{data.box_frame} (boxes are in its pixels)"),
        ("rewards", f"{' + '.join(data.reward_funcs)}, variant {data.reward_variant}"),
    ]
    if run.config.reward_weights is not None:
        facts.append(("reward weights, not applied here", " ".join(map(str, run.config.reward_weights))))
    return facts


def _budgets(stages: Sequence[str]) -> Iterator[str]:
    for stage, (task, known) in product(stages, known_tasks().items()):
        budget = known.asking(STAGES[stage]).budget
        name = f"{stage} {task}" if len(stages) > 1 else task
        if budget is None:
            yield f"{name}: none"
        else:
            yield f"{name}: above {budget.trigger} pixels to at most {budget.max_pixels}"


def render_page(run: Run, shown: str, found: Sequence[Card]) -> str:
    """The page as HTML that needs nothing else; `shown` says which rows the cards are of."""
    return render_template(
        _TEMPLATE,
        stage=run.plan.stage,
        stage_of=stage_of,
        facts=header(run, shown),
        files=run.mixture.files,
        dropped=list(run.plan.dropped.items())[:_SHOWN_REASONS],
        dropped_count=len(run.plan.dropped),
        notes=run.plan.notes,
        box_frame=run.data.box_frame,
        cards=found,
    )
