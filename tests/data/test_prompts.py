"""What a stage makes of a row, with its boxes in either frame."""

from pathlib import Path

import pytest

from curr_reft.boxes import rescale_boxes_in_text
from curr_reft.data.images import budget_size
from curr_reft.data.prompts import processed_size, request
from curr_reft.data.schema import Query
from curr_reft.models.processor import load_processor
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of

IMAGE, STORED, BOX = Path("/large.png"), (1000, 600), "[100, 60, 500, 300]"
ROW = Query("a:1", f"Like {BOX}?", f"<answer>{BOX}</answer>", IMAGE)


@pytest.fixture(scope="module")
def processor(tiny_base):
    return load_processor(str(tiny_base))


@pytest.mark.parametrize("box_frame", ["budget", "processed"])
def test_boxes_are_in_the_frame_that_the_model_was_taught(processor, box_frame):
    asked = request(ROW, STAGES["open"], "detection", STORED, box_frame, processor)
    shown = budget_size(STORED, asking_of(STAGES["open"], "detection").budget)
    frame = shown if box_frame == "budget" else processed_size(shown, processor)
    moved = rescale_boxes_in_text(BOX, STORED, frame)
    assert asked.shown == shown
    assert len({BOX, moved, rescale_boxes_in_text(BOX, STORED, shown)}) == (2 if box_frame == "budget" else 3)
    assert asked.problem == f"Like {moved}?"
    assert asked.prompt == asking_of(STAGES["open"], "detection").prompt(f"Like {moved}?")
    assert asked.solution == f"<answer>{moved}</answer>"


def test_text_alone_without_a_gold_stays_as_it_is(processor):
    row = Query("a:1", f"What is {BOX}?", None, None)
    asked = request(row, STAGES["open"], None, None, "processed", processor)
    assert (asked.problem, asked.solution, asked.image, asked.shown) == (f"What is {BOX}?", None, None, None)
