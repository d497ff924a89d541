"""What is found in a file of rows before swift starts."""

import json

import numpy as np
import pytest
from PIL import Image

from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.errors import InputError
from curr_reft.sft.check import check_file, main
from curr_reft.sft.images import image_file
from curr_reft.sft.messages import message_row
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of


def test_a_good_file_is_told(rows_file, tiny_base, tmp_path, caplog):
    path = rows_file()
    checked = check_file(path, model=str(tiny_base), max_length=100, max_pixels=200_704)
    assert (checked.rows, checked.text_only) == (2, 1)
    # 84 x 56 pixels are 3 x 2 tokens of 28 x 28.
    assert len(checked.tokens) == 2
    with caplog.at_level("INFO"):
        main([str(path), "--model", str(tiny_base)])
    assert "2 rows, 1 of text alone" in caplog.text


def test_tokens_are_those_of_the_chat_with_its_images(rows_file, tiny_base, image):
    from curr_reft.models.processor import load_processor

    processor = load_processor(str(tiny_base))
    text = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": "5"},
    ]
    ids = processor.tokenizer(processor.apply_chat_template(text))["input_ids"]
    path = rows_file(message_row("What is 2 + 3?", "5", None), message_row("What is 2 + 3?", "5", image))
    without, with_image = check_file(path, model=str(tiny_base), system="Be brief").tokens
    assert without == len(ids)
    assert with_image == without + 6 + 2  # the image's tokens, and the two that stand around them


def test_all_faults_are_counted_and_the_first_named(rows_file, image, tmp_path):
    Image.new("I;16", (40, 40)).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes(image.read_bytes()[:60])
    good = message_row("a", "b", image)
    rows = [
        good,
        "{not json",
        {**good, "images": [str(tmp_path / "gone.png")]},
        {**good, "images": [str(tmp_path / "broken.png")]},
        {**good, "images": [str(tmp_path / "deep.png")]},
        {**good, "images": ["nowhere.png"]},
        {**good, "images": ["https://example.org/x.png"]},
        {"messages": []},
    ]
    path = rows_file(*rows)
    with pytest.raises(InputError) as error:
        check_file(path)
    text = str(error.value)
    assert "7 faults" in text
    assert f"{path}:2: broken JSON" in text
    assert "and 2 more" in text
    assert "\n" not in text
    for line, message in ((3, "no such file"), (4, "cannot be decoded"), (5, "16 bits"), (6, "no such file")):
        with pytest.raises(InputError, match=f":1: .*{message}"):
            check_file(rows_file(rows[line - 1], name="one.jsonl"))


@pytest.mark.parametrize(("key", "once"), [("messages", '"messages": '), ("role", '"role": "user"')])
def test_a_key_that_stands_there_twice_is_a_fault(key, once, rows_file):
    row = json.dumps(message_row("a", "b", None))
    twice = row.replace(once, f'"{key}": "user", {once}')
    with pytest.raises(InputError, match=f"1 fault: .*:2: broken JSON: {key}: the key stands there twice"):
        check_file(rows_file(row, twice))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_a_fault(content, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="no rows"):
        check_file(path)


def test_files_that_are_none(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    for name, message in (
        ("gone.jsonl", "No such file"),
        ("x.json", "expected a .jsonl"),
        ("x.jsonl", "UTF-8"),
    ):
        with pytest.raises(InputError, match=message):
            check_file(tmp_path / name)


def test_rows_over_the_length_are_named(rows_file, tiny_base, image):
    path = rows_file(message_row("a", "b", image), message_row("a " * 200, "b", None))
    with pytest.raises(InputError, match=r"1 fault: .*:2: \d+ tokens, over --max_length 100"):
        check_file(path, model=str(tiny_base), max_length=100)


def test_relative_images_are_found_as_swift_finds_them(rows_file, image, monkeypatch, tmp_path):
    path = rows_file({**message_row("a", "b", image), "images": ["images/red.png"]})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(InputError, match="ROOT_IMAGE_DIR"):
        check_file(path)
    monkeypatch.setenv("ROOT_IMAGE_DIR", str(tmp_path))
    assert check_file(path).rows == 1
    monkeypatch.delenv("ROOT_IMAGE_DIR")
    monkeypatch.chdir(tmp_path)
    assert check_file(path).rows == 1


def test_what_swift_sees_differently_is_warned_about(rows_file, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    for name, alpha in (("clear", 0), ("opaque", 255)):
        Image.new("RGBA", (60, 40), (0, 0, 0, alpha)).save(tmp_path / f"{name}.png")
    path = rows_file(
        message_row("a", "b", tmp_path / "turned.jpg"),
        message_row("Where?", "<answer>[1, 2, 30, 40]</answer>", tmp_path / "large.png"),
        message_row("What?", "<answer>noise</answer>", tmp_path / "large.png"),
        message_row("What?", "<answer>nothing</answer>", tmp_path / "opaque.png"),
        message_row("What?", "<answer>nothing</answer>", tmp_path / "clear.png"),
    )
    turned, transparent, shrunk = check_file(path, max_pixels=401_408).warnings
    assert ":1: its image is stored turned" in turned
    assert "1 rows, first" in transparent
    assert ":5: its image has transparent parts" in transparent
    assert "1 rows, first" in shrunk
    assert ":2: its image of 700x700 is shrunk" in shrunk
    assert not check_file(path).warnings[2:]


@pytest.fixture
def held_out(world, root):
    """A held-out row of the embedded world: its problem and image."""
    row = json.loads((world / "test/math_test.jsonl").read_text().splitlines()[0])
    return row["problem"], world / row["image"]


def check_leaks(path, root, world):
    return check_file(path, suites=root / "configs/eval/shapes.yaml", data_root=world)


def test_held_out_rows_are_found_under_an_instruction_and_another_name(
    rows_file, held_out, root, world, tmp_path
):
    problem, image = held_out
    copy = tmp_path / "copy.png"
    copy.write_bytes(image.read_bytes())
    asked = asking_of(STAGES["open"], "math").prompt(problem)
    for row, kind in (
        (message_row(asked, "5", image), "question|image"),
        (message_row(asked, "5", copy), "question|image"),
        (message_row("Describe it.", "Shapes.", copy), "image"),
    ):
        with pytest.raises(InputError, match=f":1: gives away the ({kind}) of the held-out row"):
            check_leaks(rows_file(row), root, world)


@pytest.mark.parametrize("kind", ["shrunk", "turned", "16 bits"])
def test_a_copy_that_our_own_steps_write_is_the_held_out_image(kind, rows_file, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (700, 700), dtype=np.uint8)
    stored = tmp_path / "held_out.png"
    exif = Image.Exif()
    if kind == "16 bits":
        Image.fromarray(noise[:40].astype(np.uint16) << 8).save(stored)
    else:
        exif[0x0112] = 6 if kind == "turned" else 1
        Image.fromarray(noise[:40] if kind == "turned" else noise).save(stored, exif=exif)
    row = {"problem": "What is it?", "solution": "<answer>1</answer>", "task": "math", "image": stored.name}
    (tmp_path / "suite.jsonl").write_text(json.dumps(row) + "\n")
    suites = tmp_path / "suites.yaml"
    suites.write_text("suites: {m: {task: math, domain: in, json_path: suite.jsonl, scoring: math_in}}\n")
    for stage in ("judge", "open"):
        shown = fit_to_budget(open_image(stored), asking_of(STAGES[stage], "math").budget)
        copy = image_file(stored, shown, tmp_path / "images")
        assert copy != stored
        for asked, fault in (("What is it? Think.", "question"), ("Describe.", "image")):
            with pytest.raises(InputError, match=f"gives away the {fault} of the held-out row"):
                check_file(rows_file(message_row(asked, "b", copy)), suites=suites, data_root=tmp_path)


def test_a_held_out_question_of_text_alone_is_a_fault(rows_file, root, tmp_path, image):
    (tmp_path / "suite.jsonl").write_text(
        json.dumps({"problem": "Triangle ABC has sides 3, 4, 5. Area?", "image": "images/red.png"}) + "\n"
    )
    suites = tmp_path / "suites.yaml"
    suites.write_text(
        "suites: {m: {task: math, domain: in, json_path: suite.jsonl, scoring: math_in}, "
        "gone: {task: math, domain: in, json_path: gone.jsonl, scoring: math_in}}\n"
    )
    asked = asking_of(STAGES["open"], "math").prompt("Triangle ABC has sides 3, 4, 5.  area")
    with pytest.raises(InputError, match="gives away the text of the held-out row"):
        check_file(rows_file(message_row(asked, "6", None)), suites=suites, data_root=tmp_path)
    fine = check_file(rows_file(message_row("2 + 3?", "5", None)), suites=suites, data_root=tmp_path)
    assert "held-out suite not compared: gone" in fine.warnings[0]


def test_training_rows_of_the_world_give_nothing_away(world, root, tmp_path):
    from curr_reft.sft.from_rows import main as write

    mixture = root / "configs/data/others/shapes.yaml"
    output = tmp_path / "rows.jsonl"
    write([str(mixture), "--image_root", str(world), "--stage", "open", "--output", str(output)])
    assert check_leaks(output, root, world).rows == 36


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--suites", "x"), "give both, or neither"),
        (("--max_length", "5"), "needs --model"),
        (("--max_length", "0", "--model", "x"), "expected 1 or more"),
        (("--model", "nowhere/at/all"), "no such directory"),
    ],
)
def test_wrong_flags_of_the_command(flags, message, rows_file, refused):
    assert message in refused(lambda: main([str(rows_file()), *flags]))
