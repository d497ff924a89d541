"""The preview page: boxes where they belong, the model's own image and prompt, and text that stays text."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from curr_reft.data.prompts import render_prompt
from curr_reft.errors import InputError
from curr_reft.stages import STAGES
from curr_reft.training.preview.__main__ import choose_rows, find_stage, main
from curr_reft.training.preview.images import GOLD, OTHER, Mark, contact_sheet, marks_of, page_image
from curr_reft.training.preview.page import processed_image
from curr_reft.training.run import prepare

RED, NAVY = (220, 20, 20), (20, 20, 90)
ALL = "--rows=99"


@pytest.fixture
def preview(stage_flags, tmp_path):
    """Runs the command on a stage and returns its page."""

    def run(stage, *flags):
        main([*stage_flags(stage), "--stage", stage, *flags])
        return (tmp_path / "run/preview.html").read_text(encoding="utf-8")

    return run


@pytest.fixture
def write_rows(tmp_path):
    """Writes detection rows about a red rectangle on navy, and returns the flags that use them."""

    def write(*changes, size=(84, 84), box=(10, 20, 60, 50), name="one.png", orientation=1):
        root = tmp_path / "data"
        root.mkdir(exist_ok=True)
        image = Image.new("RGB", size, NAVY)
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=RED)
        exif = Image.Exif()
        exif[0x112] = orientation
        if orientation == 6:
            image = image.rotate(90, expand=True)
        image.save(root / name, exif=exif, quality=95, subsampling=0)
        row = {
            "problem": "Please give the bounding box of the red one.",
            "solution": f"<answer>{list(box)}</answer>",
            "task": "detection",
            "image": name,
        }
        rows = [{**row, **change} for change in changes]
        (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (root / "mix.yaml").write_text("train_datasets:\n  - json_path: rows.jsonl\n")
        return ["--dataset_name", str(root / "mix.yaml"), "--image_root", str(root)]

    return write


def images(page):
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int) for data in found]


def near(pixels, colour, tolerance=60):
    return np.abs(pixels - colour).max(axis=-1) <= tolerance


def assert_surrounds(pixels, colour):
    """The line of this colour runs a few pixels outside the red rectangle, on its four sides."""
    ys, xs = np.nonzero(near(pixels, RED))
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    middle = (top + bottom) // 2, (left + right) // 2
    for line in (
        pixels[middle[0], left - 8 : left],
        pixels[middle[0], right + 1 : right + 9],
        pixels[top - 8 : top, middle[1]],
        pixels[bottom + 1 : bottom + 9, middle[1]],
    ):
        assert near(line, colour).any()
    inside = pixels[top + 3 : bottom - 2, left + 3 : right - 2]
    assert near(inside, RED).all()


@pytest.mark.parametrize("stage", list(STAGES))
def test_rows_are_shown_as_the_model_reads_them(stage, preview, stage_flags, tmp_path):
    page = preview(stage, "--rows", "7")
    run = prepare(STAGES[stage], stage_flags(stage, "--dry_run"))
    shown = choose_rows(run.plan.train.dataset.with_format(None)["task"], 7, None)
    assert page.count("<article") == len(images(page)) == 7
    assert "7 of 36 train rows, the first of each task" in page
    for index in shown:
        row = run.plan.train.dataset.with_format(None)[index]
        assert f"<pre>{render_prompt(run.processor, row['prompt'][0]['content'])}</pre>" in html.unescape(
            page
        )
        assert row["id"] in page
    assert page.count("Gold answer: 1 accuracy + 1 format") == 7
    assert page.count("Wrong answer: 0 accuracy") == 7
    assert "Check:" not in page
    assert page.count("9 image tokens,") == 7
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["preview.html", "preview.png"]
    assert Image.open(tmp_path / "run/preview.png").width > 900


@pytest.mark.parametrize("frame", ["budget", "processed"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(84, 84), (100, 130), (1500, 900)])
def test_the_gold_box_surrounds_what_it_names(frame, orientation, size, preview, write_rows):
    width, height = size
    box = (width // 5, height // 3, width // 2, height // 2)
    flags = write_rows({}, size=size, box=box, orientation=orientation, name="one.jpg")
    page = preview("open", *flags, "--box_frame", frame)
    (pixels,) = images(page)
    assert (pixels.shape[1] > pixels.shape[0]) == (width > height)
    assert_surrounds(pixels, GOLD)
    assert f"stored {width}x{height}," in page


def test_sizes_in_the_three_frames_are_told(preview, write_rows):
    flags = write_rows({}, size=(1500, 900), box=(300, 300, 900, 600))
    page = " ".join(preview("open", *flags, "--box_frame", "processed", "--max_pixels", "100000").split())
    assert "stored 1500x900, budget 836x501, processed 392x224 pixels" in page
    assert "112 image tokens" in page
    assert "784 to 100000 pixels" in page
    assert "box in the processed frame" in page


@pytest.mark.parametrize(("right", "colour"), [("B", GOLD), ("A", OTHER)])
def test_options_are_drawn_with_their_letters(right, colour, preview, write_rows):
    options = "Which? A. [0, 60, 20, 80] B. [10, 20, 60, 50] C. [70, 0, 84, 9] D. [60, 60, 84, 84]"
    page = preview("choice", *write_rows({"problem": options, "solution": f"<answer>{right}</answer>"}))
    (pixels,) = images(page)
    assert all(near(pixels, each).sum() > 100 for each in (GOLD, OTHER))
    ys, xs = np.nonzero(near(pixels, RED))
    beside = pixels[ys.min() : ys.max(), xs.min() - 8 : xs.min()]
    assert [bool(near(beside, each).any()) for each in (GOLD, OTHER)] == [colour == GOLD, colour == OTHER]
    labels = re.findall(r"</span></td><td>([^<]*)</td>", page)
    assert labels == [f"{letter} gold" if letter == right else letter for letter in "ABCD"]


@pytest.mark.parametrize(("answer", "colour"), [("yes", GOLD), ("no", OTHER)])
def test_a_claim_is_gold_when_it_holds(answer, colour, preview, write_rows):
    problem = "Are the coordinates of the red one [10, 20, 60, 50]? Use yes or no to answer."
    page = preview("judge", *write_rows({"problem": problem, "solution": f"<answer>{answer}</answer>"}))
    assert f"<td>claim: {answer}</td>" in page
    (pixels,) = images(page)
    if colour == GOLD:
        assert_surrounds(pixels, GOLD)
    assert near(pixels, colour).any()


@pytest.mark.parametrize(
    ("task", "problem", "answer", "labels"),
    [
        ("detection", "A [1,2,3,4] B [5,6,7,8]", "A", ["A gold", "B"]),
        ("detection", "Which?\nA. [1, 2, 3, 4]\nB) [5, 6, 7, 8]", "(b)", ["A", "B gold"]),
        ("detection", "A: [1, 2, 3, 4] C. [5, 6, 7, 8] or [9, 9]", "A, C", ["A gold", "C gold"]),
        ("detection", "What is at [1, 2, 3, 4]?", "[5, 6, 7, 8]", ["given", "gold"]),
        (
            "detection",
            "Where are they?",
            '[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6, 7, 8]}]',
            ["gold"] * 2,
        ),
        ("detection", "Where is it?", "No Objects", []),
        ("math", "A. [1, 2, 3, 4]", "[1, 2, 3, 4]", []),
    ],
)
def test_boxes_found_in_a_row(task, problem, answer, labels):
    row = {"task": task, "prompt": [{"content": problem}], "solution": f"<answer>{answer}</answer>"}
    marks = marks_of(row)
    assert [mark.label for mark in marks] == labels
    assert [mark.box[0] for mark in marks] == [1, 5][: len(marks)]
    assert [mark.is_gold for mark in marks] == ["gold" in label for label in labels]


def test_boxes_outside_or_inverted_are_named(preview, write_rows):
    options = "Which? A. [10, 20, 60, 50] B. [50, 60, 20, 30] C. [200, 200, 300, 300] D. [0, 0, 1e99, 9]"
    page = preview("choice", *write_rows({"problem": options, "solution": "<answer>A</answer>"}))
    found = re.findall("Check: (.): box .*?: (x2 and y2 must exceed|leaves its image)", page)
    assert found == [("B", "x2 and y2 must exceed"), ("C", "leaves its image"), ("D", "leaves its image")]


def test_a_gold_that_earns_no_more_than_a_wrong_answer_is_named(preview, write_rows):
    flags = write_rows({"task": "math", "solution": "<answer>wrong</answer>"})
    assert "Check: the gold answer earns no more than the wrong one" in preview("open", *flags)


def test_text_of_rows_is_inert(preview, write_rows):
    hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>&amp; \u202e{{ 7 * 7 }}\x00"
    flags = write_rows(
        {"problem": hostile, "solution": f"<thinking>{hostile}</thinking><answer>[1, 2, 30, 40]</answer>"},
        name='"><script>.png',
    )
    page = preview("open", *flags)
    assert "<script" not in page
    assert page.count("<img") == 1
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)" in page
    assert "&amp;amp; \\u202e{{ 7 * 7 }}\\u0000" in page
    assert "default-src 'none'; img-src data:" in page
    tags = re.findall(r"<[a-z][^>]*>", page)
    (active,) = [tag for tag in tags if re.search(r"\b(src|href|on\w+)\s*=", tag)]
    assert active.startswith('<img src="data:image/jpeg;base64,')


@pytest.mark.parametrize(
    ("size", "zoom"),
    [((84, 84), 5), ((300, 200), 1), ((640, 480), 1), ((4000, 3000), 0.32), ((10, 1500), 0.853)],
)
def test_images_are_shown_at_a_size_to_look_at(size, zoom):
    corner = Mark("claim: yes", (size[0] - 5, 0, size[0], 5), True)
    drawn, found = page_image(Image.new("RGB", size, NAVY), [corner], size)
    assert found == pytest.approx(zoom, abs=0.001)
    assert 300 < max(drawn.size) < 1400
    # The label lies within the canvas, although its box is at the edge.
    ys, xs = np.nonzero(near(np.asarray(drawn).astype(int), GOLD, 0))
    assert xs.max() < drawn.width - 1
    assert ys.min() > 0


def drawn_pixels(marks, colour):
    drawn, _ = page_image(Image.new("RGB", (300, 300), NAVY), marks, (300, 300))
    return near(np.asarray(drawn).astype(int), colour, 0).sum()


def test_equal_boxes_share_a_line_and_a_label():
    equal = [Mark(letter, (40, 40, 60, 60), letter == "C") for letter in "ABCD"]
    # The longer label is all that there is more.
    assert drawn_pixels(equal, GOLD) > 1.2 * drawn_pixels(equal[2:3], GOLD)
    assert not drawn_pixels(equal, OTHER)


def test_labels_of_near_boxes_stand_apart():
    marks = [Mark("a long label", (100, 100 + shift, 200, 200 + shift), False) for shift in range(2)]
    # Lines of the two cover each other, labels do not.
    assert drawn_pixels(marks, OTHER) > drawn_pixels(marks[:1], OTHER) + 700


@pytest.mark.parametrize("size", [(84, 84), (100, 130), (700, 500)])
def test_the_image_is_the_one_the_processor_hands_on(size, stage_flags, write_rows):
    rng = np.random.default_rng(0)
    flags = write_rows({}, size=size)
    noise = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8))
    noise.resize(size, Image.Resampling.BICUBIC).save(f"{flags[-1]}/one.png")
    run = prepare(STAGES["open"], stage_flags("open", *flags, "--dry_run"))
    images = run.processor.image_processor
    inputs = images(images=[run.plan.train.dataset[0]["image"]], return_tensors="pt")
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    merge, patch = images.merge_size, images.patch_size
    shape = (rows // merge, columns // merge, merge, merge, 3, images.temporal_patch_size, patch, patch)
    pixels = inputs["pixel_values"].numpy().reshape(shape)[:, :, :, :, :, 0]
    pixels = pixels.transpose(0, 2, 5, 1, 3, 6, 4).reshape(rows * patch, columns * patch, 3)
    expected = (pixels * images.image_std + images.image_mean) * 255
    image, _ = processed_image(run, run.plan.train.dataset.with_format(None)[0])
    assert np.abs(np.asarray(image) - expected).max() <= 2


def test_dropped_rows_are_counted_with_reasons(preview, write_rows):
    flags = write_rows(
        {},
        {"image": "gone.png"},
        {"problem": "Where? " * 200},
        {"solution": "<answer>[9, 9, 200, 20]</answer>"},
    )
    more = ("--allow_missing_images", "--drop_bad_boxes", "--max_prompt_length", "200", ALL)
    page = preview("open", *flags, *more)
    assert "all 1 train rows (99 asked for)" in page
    assert "2 rows</td>" in page
    assert "1 train rows, over 200 tokens" in page
    assert "gone.png: no such file" in page
    assert "leaves its image of 84x84 pixels" in page


def test_a_seed_draws_the_rows(preview):
    first, second, third = (preview("judge", "--rows", "5", "--seed", seed) for seed in ("1", "1", "2"))
    assert first == second != third
    assert "5 of 36 train rows, drawn from each task with seed 1" in first


def test_a_page_of_mixed_stages_shows_each_row_as_its_own(preview, root):
    page = preview("open", "--dataset_name", str(root / "configs/data/mixed/shapes.yaml"), "--rows", "9")
    assert "9 of 36 train rows, the first of each task of each stage" in page
    for stage in STAGES:
        assert len(re.findall(rf"<h2>\d\. \w+, {stage} ", page)) == 3
        assert page.count(f"<td>{stage}</td>") == 6
    assert "judge detection: none; " in page
    assert "open math: above 410000 pixels" in page
    assert page.count("Gold answer: 1 accuracy + 1 format") == 9
    assert "Check:" not in page


def test_rows_are_spread_over_the_tasks():
    tasks = ["a"] * 6 + ["b"] * 2 + ["c"]
    assert choose_rows(tasks, 3, None) == [0, 6, 8]
    assert choose_rows(tasks, 7, None) == [0, 1, 2, 3, 6, 7, 8]
    assert choose_rows(tasks, 99, 5) == list(range(9))
    drawn = choose_rows(tasks, 4, 5)
    assert [tasks[index] for index in drawn].count("a") == 2


def test_a_contact_sheet_cuts_long_captions():
    short = contact_sheet("title", [(Image.new("RGB", (50, 40), NAVY), ["word"])] * 5)
    cells = [(Image.new("RGB", (50, 40), NAVY), ["line\n\tof 漢字 " * 1000, "w" * 5000, ""])] * 5
    sheet = contact_sheet("title " * 500, cells)
    assert sheet.width == short.width
    assert short.height < sheet.height < short.height + 2 * 6 * 22


def test_the_stage_is_named_or_in_the_configs_name(root):
    assert find_stage(None, "configs/tiny/stage2_choice.yaml") is STAGES["choice"]
    assert find_stage("open", "configs/tiny/stage2_choice.yaml") is STAGES["open"]
    for config in (None, "my.yaml", "judge_open.yaml"):
        with pytest.raises(InputError, match="no stage: pass --stage"):
            find_stage(None, config)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows", "0"], "--rows 0: expected 1 to 1000"),
        (["--rows", "-3"], "--rows -3: expected 1 to 1000"),
        (["--output_dir", "{file}/below"], "cannot be made (Not a directory)"),
        (["--output_dir", "{taken}"], "preview.png: cannot be written (Is a directory)"),
        (["--row", "3"], "unknown argument '--row'"),
        (["--image_rot", "x"], "did you mean 'image_root'?"),
        (["--max_pixels", "1"], "expected 1 <= min <= max"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(flags, message, preview, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "taken/preview.png").mkdir(parents=True)
    paths = {"file": tmp_path / "file", "taken": tmp_path / "taken"}
    with pytest.raises(SystemExit) as caught:
        preview("judge", *(flag.format(**paths) for flag in flags))
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.rglob("*.part"))


def test_bad_rows_are_the_check_s_own_error(preview, write_rows, capsys):
    with pytest.raises(SystemExit) as caught:
        preview("open", *write_rows({}, {"task": "dance"}))
    assert caught.value.code == 2
    assert "rows.jsonl:2: task: unknown task 'dance'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["--stage", "dance", "--output_dir", "x"])
    assert caught.value.code == 2


def test_fewer_rows_than_a_step_takes_can_be_looked_at(write_rows, tiny_base, root, tmp_path):
    config = str(root / "configs/tiny/stage3_open.yaml")
    flags = [*write_rows({}), "--model_name_or_path", str(tiny_base)]
    main(["--config", config, *flags, "--output_dir", str(tmp_path / "out"), "--held_out_suites", "none"])
    assert "1. detection" in (tmp_path / "out/preview.html").read_text()
