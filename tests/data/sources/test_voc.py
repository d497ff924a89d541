import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curr_reft.data.rows import BadRecord
from curr_reft.data.sources.voc import CLASSES, main, voc_rows
from curr_reft.errors import InputError


@pytest.fixture
def voc(fixtures, tmp_path):
    return shutil.copytree(fixtures / "voc", tmp_path / "VOC2007")


def build(voc, image_set=None):
    return list(voc_rows(voc / "Annotations", image_set, "images/voc/JPEGImages"))


def test_rows_in_the_order_of_the_names(voc, check_written):
    rows = build(voc)
    assert [row["id"] for row in rows] == ["voc:000001", "voc:2007_000027"]
    assert rows[0]["image"] == "images/voc/JPEGImages/000001.jpg"
    assert rows[0]["solution"] == "<answer>dog, person</answer>"
    assert f"in the picture: {', '.join(CLASSES)}?" in rows[0]["problem"]
    assert len(CLASSES) == 20
    check_written(build, voc)


def test_difficult_objects_count_and_parts_do_not(voc):
    assert build(voc)[1]["solution"] == "<answer>person</answer>"


def test_an_image_set_chooses(voc):
    rows = build(voc, voc / "ImageSets/Main/val.txt")
    assert [row["id"] for row in rows] == ["voc:2007_000027"]


@pytest.mark.parametrize(
    "line", ["000001 -1", "../Annotations/000001", "a/000001", ".", "000002", "000001\x00"]
)
def test_lines_that_name_no_annotation(voc, line):
    (voc / "list.txt").write_text(f"\n{line}\n")
    (bad,) = build(voc, voc / "list.txt")
    assert isinstance(bad, BadRecord)
    assert bad.where.endswith("list.txt:2")


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
)
EXTERNAL = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation><filename>&a;</filename></annotation>'
PARAMETER = '<!DOCTYPE a [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]><annotation/>'
DTD = '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:1/a.dtd"><annotation><filename>a.jpg</filename></annotation>'


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (LAUGHS, "entities are disabled"),
        (EXTERNAL, "entities are disabled"),
        (PARAMETER, "entities are disabled"),
        (DTD, "no object of the categories asked for"),
        ("", "no element found"),
        ("<annotation>", "no element found"),
        ("<annotation/>", "annotation: expected an object, found null"),
        ("<a><b/></a>", "annotation: missing"),
        ("<annotation><object/></annotation>", "filename: missing"),
        ("<annotation><filename>/etc/passwd</filename></annotation>", "is no path under"),
        ("<annotation><filename>a.jpg</filename><filename>b.jpg</filename></annotation>", "found an array"),
        ("<annotation><filename>a.jpg</filename></annotation>", "no object of the categories"),
        ("<annotation><filename>a.jpg</filename><object/></annotation>", "expected an object, found null"),
        (
            "<annotation><filename>a.jpg</filename><object><name>unicorn</name></object></annotation>",
            "'unicorn' is no VOC class",
        ),
        (
            "<annotation><filename>a.jpg</filename><object><name/></object></annotation>",
            "name: expected a string, found null",
        ),
        ('<?xml version="1.0" encoding="rot13"?><annotation/>', "annotation: expected an object"),
        ("\xff", "broken XML"),
    ],
)
def test_bad_files(voc, xml, reason):
    (voc / "Annotations/000001.xml").write_text(xml, encoding="latin-1")
    bad, row = build(voc)
    assert isinstance(bad, BadRecord)
    assert reason in bad.reason
    assert bad.where.endswith("000001.xml")
    assert row["id"] == "voc:2007_000027"


@settings(max_examples=150)
@given(st.data())
def test_no_damage_crashes(fixtures, tmp_path_factory, check_written, data):
    folder = tmp_path_factory.mktemp("voc")
    text = (fixtures / "voc/Annotations/000001.xml").read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 40, len(text))))
    middle = data.draw(
        st.one_of(st.text(max_size=5), st.sampled_from(["<object>", "</name>", "&lt;", "&a;"]))
    )
    (folder / "000001.xml").write_bytes((text[:start] + middle + text[end:]).encode(errors="surrogatepass"))
    check_written(voc_rows, folder, None, "images/voc")


def test_folder_without_annotations(voc):
    with pytest.raises(InputError, match=r"no \.xml file"):
        list(voc_rows(voc, None, ""))


def test_command(voc, tmp_path):
    output = tmp_path / "rows.jsonl"
    flags = ["--annotations", str(voc / "Annotations"), "--output", str(output)]
    main([*flags, "--image_set", str(voc / "ImageSets/Main/val.txt")])
    (row,) = map(json.loads, output.read_text().splitlines())
    assert row["task"] == "classify"
    with pytest.raises(SystemExit) as stopped:
        main([*flags, "--image_set", str(tmp_path / "missing.txt")])
    assert stopped.value.code == 2
