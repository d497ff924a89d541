"""Rows of a mixture as messages."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curr_reft.sft.check import check_file
from curr_reft.sft.from_rows import main
from curr_reft.sft.messages import read_row
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of
from curr_reft.training.run import prepare


@pytest.fixture
def write(tmp_path):
    """Writes rows and a mixture of them, and runs the command; returns the rows it wrote."""

    def write(*rows, stage="open", flags=()):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "mixture.yaml").write_text("train_datasets: [{json_path: rows.jsonl}]\n")
        output = tmp_path / "out/rows.jsonl"
        main(
            [
                *(str(tmp_path / "mixture.yaml"), "--image_root", str(tmp_path), "--stage", stage),
                *("--output", str(output), *flags),
            ]
        )
        return [json.loads(line) for line in output.open()]

    return write


def test_an_image_that_fits_stays_where_it_is(write, image, tmp_path):
    row = {
        "problem": "How many?",
        "solution": "<answer>1</answer>",
        "task": "math",
        "image": "images/red.png",
    }
    (made,) = write(row)
    read = read_row(made)
    assert read.images == (str(image),)
    assert read.user_text == asking_of(STAGES["open"], "math").prompt("How many?")
    assert read.messages[-1] == ("assistant", "<answer>1</answer>")


def test_a_shrunk_image_takes_its_boxes_along(write, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    row = {
        "problem": "Where is it?",
        "solution": "<answer>[100, 200, 500, 1000]</answer>",
        "task": "detection",
        "image": "large.png",
    }
    (made,) = write(row)
    with Image.open(made["images"][0]) as image:
        assert image.size == (648, 648)
    assert made["messages"][1]["content"] == "<answer>[65, 130, 324, 648]</answer>"
    assert Path(made["images"][0]).parent == tmp_path / "images"

    Image.fromarray(255 - noise).save(tmp_path / "large.png")
    (again,) = write(row)
    assert again["images"] != made["images"]


def test_an_image_is_written_as_the_stage_shows_it(write, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    Image.fromarray(noise).convert("RGB").save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(noise.astype(np.uint16) << 8).save(tmp_path / "deep.png")
    Image.new("LA", (60, 40), (0, 0)).save(tmp_path / "clear.png")
    row = {"problem": "What is it?", "solution": "<answer>noise</answer>", "task": "math"}
    made = write(*({**row, "image": name} for name in ("turned.png", "deep.png", "clear.png")))
    with Image.open(made[2]["images"][0]) as clear:
        assert (clear.mode, clear.getextrema()) == ("RGB", ((255, 255),) * 3)
    with Image.open(made[0]["images"][0]) as turned, Image.open(made[1]["images"][0]) as deep:
        assert (np.asarray(turned) == np.rot90(noise, -1)[..., None]).all()
        assert (np.asarray(deep) == noise[..., None]).all()
    checked = check_file(tmp_path / "out/rows.jsonl")
    assert (checked.rows, checked.warnings) == (3, [])


@pytest.mark.parametrize(
    ("problem", "solution", "message"),
    [
        ("Count <image> now", "<answer>1</answer>", "rows.jsonl:1: problem: contains <image>"),
        (
            "Count",
            "<think><|im_end|></think><answer>1</answer>",
            "rows.jsonl:1: solution: contains <|im_end|>",
        ),
    ],
)
def test_texts_that_swift_would_misread_are_named(
    problem, solution, message, write, image, refused, tmp_path
):
    assert message in refused(
        lambda: write({"problem": problem, "solution": solution, "task": "math", "image": "images/red.png"})
    )
    assert not (tmp_path / "out/rows.jsonl").exists()


@pytest.mark.parametrize("stage", ["judge", "choice"])
def test_other_stages_ask_their_own_way(stage, write, image):
    row = {"problem": "Is it?", "solution": "<answer>yes</answer>", "task": "math", "image": "images/red.png"}
    (made,) = write(row, stage=stage)
    assert made["messages"][0]["content"] == "<image>" + asking_of(STAGES[stage], "math").prompt("Is it?")


def test_a_file_is_asked_about_as_the_stage_that_the_mixture_names(world, root, tmp_path):
    output = tmp_path / "rows.jsonl"
    mixture = str(root / "configs/data/mixed/shapes.yaml")
    main([mixture, "--image_root", str(world), "--stage", "open", "--output", str(output)])
    asked = [json.loads(line)["messages"][0]["content"] for line in output.open()]
    for stage in ("judge", "choice"):
        endings = tuple(
            asking_of(STAGES[stage], task).instruction for task in ("detection", "classify", "math")
        )
        assert sum(text.endswith(endings) for text in asked) == len(asked) / 3 == 12


@pytest.mark.parametrize(
    ("frame", "box"), [("budget", "[10, 10, 90, 90]"), ("processed", "[11, 11, 101, 101]")]
)
def test_boxes_are_in_the_frame_that_a_stage_teaches(write, tiny_base, tmp_path, frame, box):
    Image.new("RGB", (100, 100), "red").save(tmp_path / "square.png")
    row = {"problem": "Where is it?", "task": "detection", "image": "square.png"}
    limits = ("--box_frame", frame, "--max_pixels", "100000")
    model = () if frame == "budget" else ("--model", str(tiny_base))
    (made,) = write({**row, "solution": "<answer>[10, 10, 90, 90]</answer>"}, flags=(*limits, *model))
    stage = [
        *("--model_name_or_path", str(tiny_base), "--dataset_name", str(tmp_path / "mixture.yaml")),
        *("--image_root", str(tmp_path), "--output_dir", str(tmp_path / "run"), *limits),
    ]
    taught = prepare(STAGES["open"], stage).plan.train.dataset[0]
    assert taught["solution"] == made["messages"][-1]["content"] == f"<answer>{box}</answer>"


def test_a_processors_frame_needs_the_processor(write, tmp_path, refused):
    assert "--box_frame processed and --model CHECKPOINT" in refused(
        lambda: write({}, flags=("--box_frame", "processed"))
    )
