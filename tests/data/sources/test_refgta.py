import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from curr_reft.data.rows import BadRecord
from curr_reft.data.sources.refgta import main, refgta_rows
from curr_reft.errors import InputError
from curr_reft.rewards import released_evaluation
from curr_reft.tasks.registry import scorings

FRAMES = ("solution", "normalized_solution", "resize_solution")


@pytest.fixture(scope="module")
def documents(fixture_json):
    return fixture_json("refgta_refs.json"), fixture_json("refgta_instances.json")


@pytest.fixture(scope="module")
def build(refer_files):
    return lambda refs, instances: list(
        refgta_rows(*refer_files(refs, instances), "test", "all", "images/refgta")
    )


def test_rows_have_the_released_form(build, documents, golden):
    rows = build(*documents)
    assert rows[0] == {
        "id": "refgta:18111:50001",
        "problem": "Please provide the bounding box coordinate of the region this sentence describes: woman"
        " in purple walking near palm tree.",
        "solution": [700, 320, 940, 880],
        "normalized_solution": [365, 296, 490, 815],
        "resize_solution": [315, 144, 423, 396],
        "task": "detection",
        "image": "images/refgta/00011304.jpg",
    }
    assert [row["id"] for row in rows] == ["refgta:18111:50001", "refgta:18111:50002"]
    example = golden("eval_refgta")[0]["example"]
    assert example["normalized_solution"] == rows[0]["normalized_solution"]
    assert example.keys() <= rows[0].keys()


def test_both_evaluators_read_them(build, documents):
    row = build(*documents)[0]
    for frame in FRAMES:
        output = f"<think>t</think><answer>{row[frame]}</answer>"
        assert released_evaluation.score("refgta", output, row).reward == 1
        assert scorings()["refgta"][1].score(output, row).reward == (frame == "resize_solution")


def test_a_small_image_is_not_resized(build, documents, changed):
    instances = changed(
        documents[1], ("images", 0), {**documents[1]["images"][0], "width": 500, "height": 400}
    )
    instances = changed(instances, ("annotations", 0, "bbox"), [0, 0, 0.6, 400.7])
    row = build(documents[0], instances)[0]
    assert row["solution"] == row["resize_solution"] == [0, 0, 1, 400]
    assert row["normalized_solution"] == [0, 0, 2, 1000]


def test_a_thin_box_keeps_an_area_in_every_frame(build, documents, changed):
    row = build(documents[0], changed(documents[1], ("annotations", 0, "bbox"), [1919, 1079, 1, 1]))[0]
    for frame in FRAMES:
        x1, y1, x2, y2 = row[frame]
        assert x1 < x2
        assert y1 < y2


@settings(max_examples=100)
@given(st.data())
def test_no_json_value_crashes(documents, build, data):
    rows = []
    with contextlib.suppress(InputError):
        rows = build(data.draw(mutated(documents[0])), data.draw(mutated(documents[1])))
    for row in rows:
        if not isinstance(row, BadRecord):
            json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
            answer = f"<answer>{row['resize_solution']}</answer>"
            assert scorings()["refgta"][1].score(answer, row).reward == 1


def test_command_writes_an_array(refer_files, documents, tmp_path):
    refs, instances = refer_files(*documents)
    output = tmp_path / "refgta_subsample_resize.json"
    main(
        ["--refs", str(refs), "--instances", str(instances), "--output", str(output), "--sentences", "first"]
    )
    (row,) = json.loads(output.read_text())
    assert row["image"] == "images/refgta/00011304.jpg"
