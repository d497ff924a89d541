import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.boxes import (
    THOUSANDTHS,
    box_fault,
    boxes_in_text,
    iou,
    iou_matrix,
    rescale_boxes_in_text,
    round_box,
    scale_box,
)

coordinates = st.integers(-1000, 1000)
sides = st.integers(1, 1000)
sizes = st.tuples(sides, sides)
boxes = st.tuples(coordinates, coordinates, sides, sides).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@st.composite
def framed_boxes(draw):
    """A frame and an integer box with area inside it."""
    width, height = draw(sizes)
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (width, height), (x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (9, 0, 19, 10), 10 / 190),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 0, 10), (0, 0, 10, 10), 0.0),
        ((10, 10, 0, 0), (0, 0, 10, 10), 0.0),
        ((0, 0, 1, 1), (0.5, 0.5, 1, 1), 0.25),
    ],
)
def test_iou(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)


@given(boxes, boxes, coordinates, coordinates)
def test_iou_is_symmetric_bounded_and_blind_to_translation(a, b, dx, dy):
    overlap = iou(a, b)
    assert overlap == iou(b, a)
    assert 0 <= overlap <= 1
    assert iou(a, a) == 1
    shifted = [(x1 + dx, y1 + dy, x2 + dx, y2 + dy) for x1, y1, x2, y2 in (a, b)]
    assert iou(*shifted) == overlap


@given(boxes, boxes, sizes, sizes)
def test_scaling_goes_back_and_keeps_iou(a, b, source, target):
    there = scale_box(a, source, target)
    assert scale_box(there, target, source) == pytest.approx(a)
    assert iou(there, scale_box(b, source, target)) == pytest.approx(iou(a, b), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[10, 20, 30, 40]", "[5, 40, 15, 80]"),
        ("[ 10,20 ,\n30,\t40 ]", "[ 5,40 ,\n15,\t80 ]"),
        ('<answer>{"bbox_2d": [10, 20, 30, 40]}</answer>', '<answer>{"bbox_2d": [5, 40, 15, 80]}</answer>'),
        ("A [0, 0, 2, 2] or B [2, 2, 4, 4]?", "A [0, 0, 1, 4] or B [1, 4, 2, 8]?"),
        ("[[0, 0, 2, 2], [2, 2, 4, 4]]", "[[0, 0, 1, 4], [1, 4, 2, 8]]"),
        ("[-10, -20, 30, 40]", "[-5, -40, 15, 80]"),
        ("[10.5, 20.25, 30., .5]", "[5.25, 40.50, 15.00, 1.00]"),
        ("[1e-05, 2e1, 30, 40]", "[0.00, 40.00, 15, 80]"),
        ("[1, 1, 5, 1]", "[1, 2, 3, 2]"),
        ("[1, 1, 2, 2]", "[1, 2, 2, 4]"),
        ("[99, 0, 100, 1]", "[49, 0, 50, 2]"),
    ],
)
def test_rescales_boxes_in_text(text, expected):
    assert rescale_boxes_in_text(text, (100, 100), (50, 200)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "no box, 10, 20, 30, 40 (10, 20, 30, 40)",
        "[1, 2, 3] [1, 2, 3, 4, 5] []",
        '["1", "2", "3", "4"] [a, b, c, d] [1 2 3 4]',
        "[1, 2, 3, 4",
        "[1, 2, 3, 1234567890]",
        "[1, 2, 3, --4]",
        "[１, ２, ３, ４]",  # noqa: RUF001
    ],
)
def test_leaves_other_text_alone(text):
    assert rescale_boxes_in_text(text, (100, 100), (50, 200)) == text


@given(st.text() | boxes.map(str) | boxes.map(lambda box: json.dumps(box)), sizes)
def test_equal_sizes_return_the_very_text(text, size):
    assert rescale_boxes_in_text(text, size, size) is text


@given(st.text(alphabet="[], .-+e0123456789x\n"), sizes, sizes)
def test_any_text_keeps_everything_but_its_numbers(text, source, target):
    moved = rescale_boxes_in_text(text, source, target)
    number_characters = str.maketrans("", "", "+-.e0123456789")
    assert moved.translate(number_characters) == text.translate(number_characters)


@given(framed_boxes(), sizes)
def test_a_box_with_area_keeps_area_inside_the_frame(framed, target):
    size, box = framed
    x1, y1, x2, y2 = json.loads(rescale_boxes_in_text(json.dumps(box), size, target))
    assert 0 <= x1 < x2 <= target[0]
    assert 0 <= y1 < y2 <= target[1]


@given(framed_boxes(), st.integers(1, 9), st.integers(1, 9))
def test_growing_and_shrinking_again_returns_the_box(framed, horizontal, vertical):
    size, box = framed
    larger = (size[0] * horizontal, size[1] * vertical)
    text = json.dumps(box)
    assert rescale_boxes_in_text(rescale_boxes_in_text(text, size, larger), larger, size) == text


@pytest.mark.parametrize("unit", ["[", "[1,2,3,", "[1, 2, 3, 4", "[ ", "[1" + "1" * 50, "[1,2,3,4],"])
def test_takes_linear_time(unit):
    text = unit * (300_000 // len(unit)) + " " * 300_000
    started = time.perf_counter()
    rescale_boxes_in_text(text, (100, 100), (50, 200))
    assert time.perf_counter() - started < 5


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, min_size=1, max_size=4))
def test_matrix_holds_the_iou_of_every_pair(first, second):
    found = iou_matrix(np.array(first, dtype=float), np.array(second, dtype=float))
    assert found.shape == (len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert found[i, j] == pytest.approx(iou(a, b))


@given(framed_boxes())
def test_thousandths_return_the_box_within_a_pixel(framed):
    size, box = framed
    width, height = size
    there = round_box(scale_box(box, size, THOUSANDTHS), THOUSANDTHS)
    back = scale_box(there, THOUSANDTHS, size)
    limits = [max(1, side / 1000) for side in (width, height)] * 2
    assert all(abs(a - b) <= limit for a, b, limit in zip(box, back, limits, strict=True))


@given(st.tuples(*[st.floats(-50, 4000)] * 4), sizes)
def test_rounded_boxes_lie_inside_and_have_an_area(box, size):
    x1, y1, x2, y2 = round_box(box, size)
    assert 0 <= x1 < x2 <= size[0]
    assert 0 <= y1 < y2 <= size[1]


@given(framed_boxes())
def test_whole_pixels_inside_stay_as_they_are(framed):
    size, box = framed
    assert round_box(box, size) == box
    assert box_fault(box, size) is None or box == (0, 0, 1, 1)
    assert boxes_in_text(f"At {list(box)} or {list(box)}.") == [box, box]


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((0, 0, 100, 80), None),
        ((-1, -0.5, 101, 81), None),
        ((0, 0, 101.5, 80), "leaves its image of 100x80"),
        ((0, -2, 100, 80), "leaves its image"),
        ((50, 0, 50, 80), "must exceed"),
        ((60, 0, 50, 80), "must exceed"),
        ((float("nan"), 0, 50, 80), "must exceed"),
        ((0.1, 0.25, 0.5, 1.0), "inside one pixel; it looks normalised to 0…1: multiply it by"),
        ((0, 0, 1, 1), "inside one pixel"),
        ((0, 0, 1, 2), None),
        ((4.2, 4.2, 4.8, 4.8), None),
    ],
)
def test_faults_of_boxes(box, fault):
    found = box_fault(box, (100, 80))
    assert found is None if fault is None else fault in found
