"""The completions of a run: read back as groups, shown with their boxes, and text that stays text."""

import base64
import html
import io
import json
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from browser import MISSING
from PIL import Image

from curr_reft.training.completions.__main__ import main
from curr_reft.training.completions.groups import read_groups, read_run
from curr_reft.training.preview.images import GOLD
from curr_reft.training.run import run_stage

HOSTILE = "</pre><script>alert(1)</script><img src=http://nowhere.invalid/a.png>&amp; \u202e{{ 7 * 7 }}\x00"
NAVY = (20, 20, 90)
# The colours of the boxes of the first completions.
FIRST, SECOND = (70, 200, 255), (255, 110, 220)


def completion(text="<answer>[5, 5, 20, 20]</answer>", accuracy=1.0, **more):
    """A row of the table that TRL writes, with the columns of ours."""
    return {
        "step": 1,
        "prompt": [{"role": "user", "content": "Where is it?"}],
        "completion": [{"role": "assistant", "content": text}],
        "accuracy": accuracy,
        "format": 1.0,
        "id": "rows.jsonl:1",
        "image_path": "data/one.png",
        "solution": "<answer>[40, 40, 70, 70]</answer>",
        "split": "train",
        "task": "detection",
        "advantage": accuracy - 0.5,
        **more,
    }


def group(row_id, *accuracies, **more):
    return [completion(accuracy=accuracy, id=row_id, **more) for accuracy in accuracies]


@pytest.fixture
def write_run(tmp_path, monkeypatch):
    """Writes the completions of steps in the directory of a run, and returns it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    Image.new("RGB", (84, 84), NAVY).save(tmp_path / "data/one.png")

    def write(steps, stage="open", **config):
        settings = {
            "reward_funcs": ["accuracy", "format"],
            "reward_weights": None,
            "num_generations": 2,
            "num_generations_eval": None,
            "image_root": "data",
            "box_frame": "budget",
        }
        record = {"status": "running", "stage": stage, "config": {**settings, **config}}
        (tmp_path / "run/completions").mkdir(parents=True)
        (tmp_path / "run/manifest.json").write_text(json.dumps(record))
        for step, rows in steps.items():
            rows = [{"stage": stage, **row} for row in rows]
            path = tmp_path / f"run/completions/completions_{step:05}.parquet"
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return tmp_path / "run"

    return write


@pytest.fixture
def show(write_run, tmp_path):
    """Runs the command on the completions of one step and returns the page."""

    def run(rows, *flags, **config):
        main([str(write_run({1: rows}, **config)), *flags])
        return (tmp_path / "run/completions/completions_00001.html").read_text(encoding="utf-8")

    return run


def image_of(page):
    (data,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def centre(pixels, colour):
    """The middle of what has about this colour, as shares of the image's sides."""
    ys, xs = np.nonzero(np.abs(pixels - colour).max(axis=-1) <= 60)
    assert len(xs)
    return (xs.min() + xs.max()) / 2 / pixels.shape[1], (ys.min() + ys.max()) / 2 / pixels.shape[0]


def test_completions_of_a_prompt_are_a_group(write_run):
    twice = group("a", 1.0, 0.0, 1.0, 1.0)
    rows = [*twice, *group("b", 0.0, 0.0)]
    # What is left of a step's own rows beside those of its evaluation is no whole groups.
    evaluated = [*group("c", 1.0), *group("a", 1.0, 1.0, 0.0, split="val")]
    run = write_run({1: rows, 2: evaluated}, reward_weights=[2.0, 0.5], num_generations_eval=3)
    record = read_run(run)
    step, groups = read_groups(run, record, 1)
    assert step == 1
    groups += read_groups(run, record)[1]
    assert [(each.id, each.split, len(each.completions)) for each in groups] == [
        ("a", "train", 2),
        ("a", "train", 2),
        ("b", "train", 2),
        ("a", "val", 3),
    ]
    assert [each.mean for each in groups] == pytest.approx([1.5, 2.5, 0.5, 11 / 6])
    assert [each.has_signal for each in groups] == [True, False, False, True]


def test_a_reward_that_gives_none_counts_nothing(show):
    page = show([{**completion(), "accuracy": value} for value in (None, float("nan"))])
    assert page.count('<th scope="row">accuracy</th><td class="number">no</td>') == 2
    assert page.count('<th scope="row">sum</th><td class="number">1</td>') == 2


def test_what_rewards_of_ones_own_logged_is_shown(show):
    rows = [{**completion(), "brevity": 0.25, "words": "twelve"} for _ in range(2)]
    order = [*list(completion())[:5], "brevity", "words", *list(completion())[5:]]
    page = show(
        [{name: row[name] for name in order} for row in rows],
        reward_funcs=["accuracy", "format", "mine.py:brevity"],
    )
    assert page.count('<th scope="row">brevity</th><td class="number">0.25</td>') == 2
    assert page.count('<th scope="row">sum</th><td class="number">2.25</td>') == 2
    assert page.count('<th scope="row">words</th><td class="number">twelve</td>') == 2


def test_boxes_of_gold_and_completions_are_told_apart(show):
    answers = ["<answer>[4, 4, 24, 24]</answer>", 'so <answer>{"bbox_2d": [4, 60, 24, 80]}']
    pixels = image_of(show([completion(text) for text in answers]))
    assert centre(pixels, GOLD) > (0.5, 0.5)
    # Numbers stand above their boxes, so that the middles lie a little higher.
    assert centre(pixels, FIRST) == pytest.approx((0.2, 0.2), abs=0.08)
    assert centre(pixels, SECOND) == pytest.approx((0.2, 0.77), abs=0.08)


def test_boxes_are_in_the_frame_that_the_run_taught(show, tiny_base, tmp_path):
    # 100 pixels become 112 in the processor, where [84, 84, 112, 112] is the last quarter.
    Image.new("RGB", (100, 100), NAVY).save(tmp_path / "data/wide.png")
    more = {"image_path": "data/wide.png", "solution": "<answer>[84, 84, 112, 112]</answer>"}
    page = show(
        [completion("<answer>no box</answer>", **more)] * 2,
        box_frame="processed",
        model_name_or_path=str(tiny_base),
        model_revision="main",
        min_pixels=None,
        max_pixels=None,
    )
    assert centre(image_of(page), GOLD) == pytest.approx((0.84, 0.84), abs=0.05)


def test_options_of_the_prompt_keep_their_letters(show):
    prompt = [{"role": "user", "content": "Which? A. [4, 4, 24, 24] B. [40, 40, 70, 70]"}]
    row = completion("<answer>A</answer>", prompt=prompt, solution="<answer>B</answer>")
    pixels = image_of(show([row, row], stage="choice"))
    assert centre(pixels, GOLD) > (0.5, 0.5) > centre(pixels, FIRST)


def test_rows_of_other_tasks_have_no_boxes(show):
    row = completion("<answer>[4, 4, 24, 24]</answer>", task="math", solution="<answer>[4, 4, 9, 9]</answer>")
    pixels = image_of(show([row, row]))
    assert not (np.abs(pixels - FIRST).max(axis=-1) <= 60).any()


def test_text_of_models_and_rows_is_inert(show):
    boxes = "[1, 2, 3, 4]" * 500 + "[1e99, -5, 0, 1e99]"
    page = show(
        [
            completion(
                f"<answer>{HOSTILE}{boxes}{HOSTILE * 100}</answer>",
                id=HOSTILE,
                solution=f"<answer>{HOSTILE}</answer>",
                prompt=[{"role": "user", "content": HOSTILE}],
            )
        ]
        * 2
    )
    assert "<script" not in page
    assert page.count("<img") == 1
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)" in page
    assert "&amp;amp; \\u202e{{ 7 * 7 }}\\u0000" in page
    active = [tag for tag in re.findall(r"<[a-z][^>]*>", page) if re.search(r"\b(src|href|on\w+)\s*=", tag)]
    assert len(active) == 1
    assert "more characters" in page
    assert len(page) < 100_000


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("data/gone.png", "gone.png: no such file"),
        ("secret.png", "../secret.png: lies outside the data"),
        ("/etc/passwd", "lies outside the data"),
        ("data/nul\0", "Image not shown"),
    ],
)
def test_an_image_that_is_not_shown_is_said(path, note, show, tmp_path):
    Image.new("RGB", (84, 84)).save(tmp_path / "secret.png")
    page = show([completion(image_path=path)] * 2)
    assert note in html.unescape(page)
    assert "<img" not in page


def test_images_may_have_moved(show, tmp_path):
    (tmp_path / "data").rename(tmp_path / "moved")
    assert "<img" in show([completion()] * 2, "--image_root", str(tmp_path / "moved"))


def test_the_worst_come_first_and_counts_are_said(show, capsys):
    accuracies = {"a": (1, 1), "b": (0, 1), "c": (0, 0), "d": (0, 0)}
    rows = [row for name, each in accuracies.items() for row in group(name, *map(float, each))]
    rows += group("e", 0.0, 0.0, task="math", solution="<answer>5</answer>")
    page = show(rows, "--worst", "--groups", "3", "--task", "detection")
    assert "3 of 4 groups of task detection, those with the lowest mean reward first" in page
    assert re.findall(r'<span class="faint">(\w), mean reward', page) == ["c", "d", "b"]
    assert page.count("No signal: all rewards are equal.") == 2
    printed = capsys.readouterr().out
    assert "1. detection, c, gold <answer>[40, 40, 70, 70]</answer>" in printed
    assert "3. detection, b" in printed


def test_a_file_that_is_being_written_is_passed_over(write_run, refused, caplog):
    run = write_run({1: group("a", 1.0, 0.0), 2: group("b", 1.0, 0.0)})
    newest = run / "completions/completions_00002.parquet"
    newest.write_bytes(newest.read_bytes()[:-20])
    step, (only,) = read_groups(run, read_run(run))
    assert (step, only.id) == (1, "a")
    assert "not written to the end" in caplog.text
    assert "choose another --step" in refused(lambda: main([str(run), "--step", "2"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--step", "7"], "--step 7: {run} has no completions of it, of 2 steps 8 is nearest"),
        (["--task", "ocr"], "--task ocr: the step has completions of detection"),
        (["--groups", "0"], "--groups 0: expected 1 to 1000"),
        (["--worse"], "unrecognized arguments: --worse"),
    ],
)
def test_wrong_flags_are_one_line(flags, message, write_run, refused):
    run = write_run({1: group("a", 1.0, 0.0), 8: group("b", 1.0, 0.0)})
    error = refused(lambda: main([str(run), *flags]))
    assert message.format(run=run) in error
    assert error.count("\n") == 1


def test_what_is_no_run_or_has_no_completions_is_one_line(write_run, refused, tmp_path):
    assert "nowhere: not the run of a stage" in refused(lambda: main([str(tmp_path / "nowhere")]))
    run = write_run({})
    assert "no completions yet; a run writes them with --log_completions" in refused(lambda: main([str(run)]))
    (run / "manifest.json").write_text('{"status": "finished", "stage": "sft", "config": {}}')
    assert "not the run of a stage" in refused(lambda: main([str(run)]))


def test_tables_of_an_earlier_version_and_unknown_tasks_are_one_line(write_run, refused):
    row = completion(task="ocr")
    run = write_run({1: [row], 2: [{name: row[name] for name in row if name != "id"}]})
    assert "has no column id" in refused(lambda: main([str(run)]))
    assert "--tasks FILE.py adds others" in refused(lambda: main([str(run), "--step", "1"]))


@MISSING
@pytest.mark.slow
def test_the_page_asks_for_nothing(show, browse, tmp_path):
    show([completion(HOSTILE), completion()])
    elements, console, asked = browse(tmp_path / "run/completions/completions_00001.html")
    assert console == []
    assert asked == []
    assert elements.count("<article") == 1


@pytest.mark.slow
def test_a_run_leaves_what_the_page_needs(trainers, stage_flags, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "def brevity(completions, id, log_extra, **_):\n"
        "    log_extra('id', ['of my own'] * len(id))\n"
        "    log_extra('words', [len(each[0]['content'].split()) for each in completions])\n"
        "    return [0.5] * len(completions)\n"
    )
    flags = ["--max_steps", "2", "--log_completions", "--save_strategy", "no", "--num_generations", "3"]
    flags += ["--per_device_train_batch_size", "4", "--eval_strategy", "steps", "--eval_steps", "2"]
    rewards = ["--reward_funcs", "accuracy", "format", f"{tmp_path}/mine.py:brevity"]
    run_stage(trainers["open"], stage_flags("open", *flags, *rewards))
    # No table of completions is printed beside them.
    assert "Advantage" not in capsys.readouterr().out
    run = tmp_path / "run"
    record = read_run(run)
    _, groups = read_groups(run, record, 1)
    assert [len(each.completions) for each in groups] == [3] * 4
    assert {each.split for each in groups} == {"train"}
    assert all(list(each.completions[0].rewards) == ["accuracy", "format", "brevity"] for each in groups)
    assert all(list(each.completions[0].extra) == ["words"] for each in groups)
    assert all("_train.jsonl:" in each.id for each in groups)
    assert {each.split for each in read_groups(run, record, 2)[1]} == {"val"}
    main([str(run), "--step", "1"])
    page = (run / "completions/completions_00001.html").read_text(encoding="utf-8")
    assert page.count("<img") == 4
