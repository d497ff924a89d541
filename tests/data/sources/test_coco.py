import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from curr_reft.data.sources.coco import SUPERCATEGORIES, coco_rows, main
from curr_reft.errors import InputError


@pytest.fixture(scope="module")
def document(fixture_json):
    return fixture_json("coco_instances.json")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    path = tmp_path_factory.mktemp("coco") / "instances.json"

    def rows(document, names="supercategories"):
        path.write_text(json.dumps(document), encoding="utf-8")
        return list(coco_rows(path, names, "images/coco/train2014"))

    return rows


def test_supercategories_in_their_fixed_order(build, document, check_written):
    rows = build(document)
    assert rows[0] == {
        "id": "coco:9",
        "problem": "Which of these categories appear in the picture: person, vehicle, outdoor, animal,"
        " accessory, sports, kitchen, food, furniture, electronic, appliance, indoor? Answer with their"
        " names, separated by commas.",
        "solution": "<answer>kitchen, food</answer>",
        "task": "classify",
        "image": "images/coco/train2014/COCO_train2014_000000000009.jpg",
    }
    assert len(SUPERCATEGORIES) == 12
    check_written(build, document)


def test_a_crowd_is_present(build, document):
    assert build(document)[1]["solution"] == "<answer>person, animal</answer>"


def test_the_files_own_categories(build, document):
    row = build(document, "categories")[1]
    assert "in the picture: person, bicycle, traffic light, giraffe, " in row["problem"]
    assert row["solution"] == "<answer>person, giraffe</answer>"


def test_image_without_annotations(build, document, changed, reasons):
    assert reasons(build(changed(document, ("annotations",), document["annotations"][:2]))) == [
        "no object of the categories asked for"
    ]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("annotations", 0, "category_id"), 99, ["annotations[0]: category_id: no record has 99"]),
        (("annotations", 0, "image_id"), 99, ["image_id: no record has 99"]),
        (("annotations", 0), None, ["expected an object, found null"]),
        (("images", 0, "id"), 25, ["id: another record has 25", *["image_id: no record has 9"] * 2]),
        (("images", 0, "id"), None, ["id: expected a whole number or a string, found null"]),
        (("images", 0, "file_name"), "../a.jpg", ["'../a.jpg' is no path under the folder of the images"]),
        (("images", 0, "file_name"), 5, ["file_name: expected a string, found a whole number"]),
    ],
)
def test_bad_records(build, document, changed, reasons, path, value, expected):
    assert reasons(build(changed(document, path, value)))[: len(expected)] == expected


def test_an_image_with_a_bad_annotation_gives_no_row(build, document, changed):
    outcomes = build(changed(document, ("annotations", 1, "category_id"), 99))
    assert [row["id"] for row in outcomes if isinstance(row, dict)] == ["coco:25"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("categories", 3, "supercategory"), "plant", "do not make up COCO's twelve"),
        (("categories", 3, "supercategory"), "person", "do not make up COCO's twelve"),
        (("categories", 3, "supercategory"), None, "categories: supercategory: expected a string"),
        (("categories", 3, "id"), 1, r"categories\[3\]: id: another record has 1"),
        (("categories",), {}, "expected an object with a list of categories"),
        (("annotations",), None, "expected an object with a list of annotations"),
    ],
)
def test_files_that_cannot_be_used(build, document, changed, path, value, message):
    with pytest.raises(InputError, match=message):
        build(changed(document, path, value))


@pytest.mark.parametrize("name", ["a, b", "salt and pepper", "[dog]", "'dog'", "</answer>", ";"])
def test_category_names_that_a_list_cannot_hold(build, document, changed, name):
    with pytest.raises(InputError, match="cannot stand in a list of labels"):
        build(changed(document, ("categories", 0, "name"), name), "categories")


@settings(max_examples=200)
@given(st.data())
def test_no_json_value_crashes(document, build, check_written, data):
    names = data.draw(st.sampled_from(["supercategories", "categories"]))
    check_written(build, data.draw(mutated(document)), names)


def test_command(fixtures, tmp_path, refused):
    output = tmp_path / "rows.jsonl"
    main(["--annotations", str(fixtures / "coco_instances.json"), "--output", str(output)])
    assert len(output.read_text().splitlines()) == 2
    broken = tmp_path / "broken.json"
    for content in (b'{"images": [', b"\xff\xfe", b"[" * 100_000, b"[" + b"9" * 5_000 + b"]"):
        broken.write_bytes(content)
        assert refused(lambda: main(["--annotations", str(broken), "--output", str(output)])).count("\n") == 1
    assert len(output.read_text().splitlines()) == 2
