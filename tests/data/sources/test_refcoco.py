import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from curr_reft.data.rows import BadRecord
from curr_reft.data.sources.refcoco import main, refcoco_rows
from curr_reft.errors import InputError

REF = (0,)
SENTENCE = (0, "sentences", 0)
IMAGE = ("images", 1)
BOX = ("annotations", 1, "bbox")


@pytest.fixture(scope="module")
def documents(fixture_json):
    return fixture_json("refcoco_refs.json"), fixture_json("refcoco_instances.json")


@pytest.fixture(scope="module")
def build(refer_files):
    def rows(refs, instances, split="train", sentences="all", protocol=2):
        paths = refer_files(refs, instances, protocol)
        return list(refcoco_rows(*paths, "refcoco", split, sentences, "images/coco/train2014"))

    return rows


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_rows_of_a_split(build, documents, protocol, check_written):
    rows = build(*documents, protocol=protocol)
    assert rows[0] == {
        "id": "refcoco:0:0",
        "problem": "Please provide the bounding box coordinate of the region this sentence describes: the"
        " lady with the blue shirt.",
        "solution": "<answer>[104, 300, 238, 477]</answer>",
        "task": "detection",
        "image": "images/coco/train2014/COCO_train2014_000000581857.jpg",
    }
    assert [row["id"] for row in rows] == ["refcoco:0:0", "refcoco:0:1", "refcoco:0:2"]
    check_written(build, *documents)


def test_first_sentence_only_and_another_split(build, documents):
    assert [row["id"] for row in build(*documents, sentences="first")] == ["refcoco:0:0"]
    (row,) = build(*documents, split="testB")
    assert row["problem"].endswith("describes: left animal.")
    assert row["solution"] == "<answer>[264, 217, 285, 232]</answer>"


def test_split_that_the_file_lacks(build, documents):
    with pytest.raises(InputError, match=r"no ref is in split val, only in: testB, train"):
        build(*documents, split="val")


def test_refs_without_a_split(refer_files, documents, changed):
    refs = [changed(documents[0], (*REF, "split"), None)[0]]
    paths = refer_files(refs, documents[1])
    outcomes = refcoco_rows(*paths, "refcoco", "train", "all", "images/coco/train2014")
    assert isinstance(next(outcomes), BadRecord)
    with pytest.raises(InputError, match=r"no ref is in split train, nor in any other$"):
        next(outcomes)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ((*REF, "ann_id"), 5, "ann_id: no record has 5"),
        ((*REF, "ann_id"), [], "ann_id: expected a whole number or a string, found an array"),
        ((*REF, "image_id"), 98304, "image_id: not the image of the annotation"),
        pytest.param((*REF, "ref_id"), 1 << 20_000, "ref_id: expected 1 to 100 printable", id="huge"),
        ((*REF, "ref_id"), True, "ref_id: expected a whole number or a string, found a boolean"),
        ((*REF, "split"), None, "split: expected a string, found null"),
        ((*REF, "sentences"), [], "sentences: empty"),
        ((*REF, "sentences"), {}, "sentences: expected an array, found an object"),
        (REF, "a ref", "expected an object, found a string"),
        ((*SENTENCE, "sent"), " ", "sent: empty"),
        ((*SENTENCE, "sent"), ".", "sent: empty"),
        ((*SENTENCE, "sent"), b"\xff", "sent: expected a string, found bytes"),
        (SENTENCE, 3, "expected an object, found a whole number"),
    ],
)
def test_bad_ref(build, documents, changed, reasons, path, value, reason):
    refs = [*changed(documents[0], path, value), *documents[0]]
    (found,) = reasons(build(refs, documents[1], protocol=4))
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ((*IMAGE, "id"), 7, "image_id: no record has 581857"),
        ((*IMAGE, "width"), 0, "width and height: expected 1 to 1000000 pixels"),
        ((*IMAGE, "height"), 640.0, "height: expected a whole number, found a number"),
        ((*IMAGE, "file_name"), "../../etc/passwd", "'../../etc/passwd' is no path under"),
        ((*IMAGE, "file_name"), "/etc/passwd", "'/etc/passwd' is no path under"),
        ((*IMAGE, "file_name"), "..\\a.jpg", "'..\\\\a.jpg' is no path under"),
        ((*IMAGE, "file_name"), "a\x00.jpg", "'a\\x00.jpg' is no path under"),
        ((*IMAGE, "file_name"), ".", "'.' is no path under"),
        (BOX, [10, 10, 20], "bbox: expected four numbers"),
        (BOX, [10, 10, 20, True], "bbox: expected four numbers"),
        (BOX, [10, 10, 20, float("nan")], "bbox: expected four numbers"),
        (BOX, [10, 10, 20, float("inf")], "bbox: expected four numbers"),
        (BOX, [10, 10, 20, 10**400], "bbox: expected four numbers"),
        (BOX, [10, 10, -5, 20], "bbox: width -5 and height 20 must be positive"),
        (BOX, [10, 10, 5, 0], "bbox: width 5 and height 0 must be positive"),
        (BOX, [10, 10, 0.2, 20], "bbox: [10, 10, 0.2, 20] covers no whole pixel"),
        (BOX, [10, 10, 418.5, 20], "bbox: [10, 10, 418.5, 20] leaves the 427x640 image"),
        (BOX, [-1.5, 10, 20, 20], "bbox: [-1.5, 10, 20, 20] leaves"),
    ],
)
def test_bad_instance(build, documents, changed, reasons, path, value, reason):
    (found,) = reasons(build(documents[0], changed(documents[1], path, value)))
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("box", "solution"),
    [
        ([-0.9, -1, 20, 20], [0, 0, 19, 19]),
        ([400, 600, 27.9, 41], [400, 600, 427, 640]),
        ([0, 0, 427, 640], [0, 0, 427, 640]),
        ([10.5, 10.4, 10, 10], [11, 10, 21, 20]),
    ],
)
def test_up_to_a_pixel_outside_is_clipped(build, documents, changed, box, solution):
    rows = build(documents[0], changed(documents[1], BOX, box))
    assert rows[0]["solution"] == f"<answer>{json.dumps(solution)}</answer>"


def test_an_id_twice_is_a_bad_record(build, documents, reasons):
    refs, instances = documents
    doubled = {**instances, "annotations": [*instances["annotations"], instances["annotations"][0]]}
    assert reasons(build(refs, doubled)) == ["id: another record has 3007"]


def test_place_of_a_bad_record(build, documents, changed):
    outcomes = build(changed(documents[0], (0, "sentences", 1, "sent"), changed.DELETE), documents[1])
    assert [type(outcome) for outcome in outcomes] == [dict, BadRecord, dict]
    assert outcomes[1].where.endswith("refs(unc).p: refs[0].sentences[1]")
    assert outcomes[1].reason == "sent: missing"


@pytest.mark.parametrize("instances", [[], {}, {"images": {}, "annotations": []}, {"images": []}, "text"])
def test_instances_of_another_form(build, documents, instances):
    with pytest.raises(InputError, match=r"instances\.json: expected an object with a list of"):
        build(documents[0], instances)


def test_refs_of_another_form(build, documents):
    with pytest.raises(InputError, match="expected a list of refs"):
        build({"refs": []}, documents[1])


@settings(max_examples=150)
@given(st.data())
def test_no_json_value_crashes(documents, build, check_written, data):
    check_written(build, data.draw(mutated(documents[0])), data.draw(mutated(documents[1])))


def test_command(refer_files, documents, tmp_path, refused):
    refs, instances = refer_files(*documents)
    output = tmp_path / "rows.jsonl"
    flags = ["--refs", str(refs), "--instances", str(instances), "--output", str(output)]
    main([*flags, "--dataset", "refcoco+", "--split", "testB", "--image_prefix", "images/coco"])
    (row,) = map(json.loads, output.read_text().splitlines())
    assert row["id"] == "refcoco+:5:17"
    assert row["image"] == "images/coco/COCO_train2014_000000098304.jpg"

    documents = json.loads(json.dumps(documents))
    documents[0][0]["sentences"][0]["sent"] = ""
    refer_files(*documents)
    assert "1 of 3 records are bad" in refused(lambda: main(flags))
    main([*flags, "--drop_bad_rows"])
    assert len(output.read_text().splitlines()) == 2
