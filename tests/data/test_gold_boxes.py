"""Golds that are no boxes in their images: named, dropped when asked, refused where a whole file is off."""

import random
from dataclasses import replace

import pytest

from curr_reft.boxes import THOUSANDTHS, round_box, scale_box
from curr_reft.data.gold_boxes import box_faults, check_boxes
from curr_reft.data.schema import Example
from curr_reft.errors import InputError
from curr_reft.stages import STAGES

VGA = (640, 480)


def golds(boxes, file="rows.jsonl", task="detection"):
    return [
        Example(f"{file}:{line}", "Where?", f"<answer>{box}</answer>", task, f"{line}.jpg")
        for line, box in enumerate(boxes, start=1)
    ]


def sized(examples, size=VGA):
    return {example.image: size for example in examples}


def check(examples, drop=False, stage="open", size=VGA):
    return check_boxes(examples, STAGES[stage], sized(examples, size), drop)


def boxes_of(count, seed=0):
    rng = random.Random(seed)
    corners = [[sorted(rng.sample(range(1, side), 2)) for side in VGA] for _ in range(count)]
    return [[x1, y1, x2, y2] for (x1, x2), (y1, y2) in corners]


def test_boxes_in_their_images_are_fine():
    assert check(golds(boxes_of(50))) == {}
    assert check(golds(["No Objects", "[0, 0, 640, 480]"])) == {}
    assert check(golds([[0, 0, 0.5, 0.5]]), stage="choice") == {}
    assert check(golds(["3", "0.5"], task="math")) == {}


def test_only_golds_of_open_rows_are_held_to_be_boxes():
    rows = golds(["A", "yes", "A", "B"])
    stages = ("choice", "judge", "", "open")
    mixed = [replace(row, stage=stage) for row, stage in zip(rows, stages, strict=True)]
    assert list(check(mixed, drop=True, stage="choice")) == ["rows.jsonl:4"]
    assert list(check(mixed, drop=True, stage="open")) == ["rows.jsonl:3", "rows.jsonl:4"]


def test_normalised_golds_are_refused_with_a_hint_and_not_dropped():
    shares = [list(scale_box(box, VGA, (1, 1))) for box in boxes_of(20)]
    for drop in (False, True):
        with pytest.raises(
            InputError, match=r"rows\.jsonl: 20 of 20 gold boxes lie inside one pixel, first"
        ) as no:
            check(golds(shares), drop)
        assert "normalised to 0…1; multiply them by their image's width and height" in str(no.value)
    few = golds([*boxes_of(3), shares[0]])
    with pytest.raises(InputError, match=r"rows.jsonl:4: box .* looks normalised to 0…1: multiply"):
        check(few)
    assert list(check(few, drop=True)) == ["rows.jsonl:4"]


def test_golds_in_thousandths_are_refused_with_a_hint_and_not_dropped():
    thousandths = [list(round_box(scale_box(box, VGA, THOUSANDTHS), THOUSANDTHS)) for box in boxes_of(40)]
    for drop in (False, True):
        with pytest.raises(
            InputError, match=r"of 40 gold boxes leave their images, first rows\.jsonl:"
        ) as no:
            check(golds(thousandths), drop)
        assert "normalised to 0…1000; multiply them by their image's width / 1000" in str(no.value)


@pytest.mark.parametrize("strange", [[0, 0, 1200, 30], [-3, 0, 9, 9]])
def test_faults_that_no_frame_explains_stay_faults_of_rows(strange):
    rows = golds([*[[600, 400, 900, 470]] * 3, strange, [1, 2, 30, 40]])
    assert len(check(rows, drop=True)) == 4
    half = golds([[600, 400, 900, 470], [1, 2, 30, 40]])
    assert list(check(half, drop=True)) == ["rows.jsonl:1"]


def test_a_file_among_others_is_named():
    fine, bad = golds(boxes_of(9), "a/fine.jsonl"), golds([[0.1, 0.1, 0.5, 0.5]], "bad.json[0]")
    with pytest.raises(InputError, match=r"\Abad.json\[0\]: 1 of 1 gold boxes"):
        box_faults([*fine, *bad], sized([*fine, *bad]))


def test_rows_without_a_size_are_passed_over():
    rows = golds([[0.1, 0.1, 0.5, 0.5]])
    assert check_boxes(rows, STAGES["open"], {}, drop=False) == {}
