"""A task and a reward of one's own, each in a file, through every command; files that define none."""

import json
import re
from dataclasses import replace

import pytest
from PIL import Image, ImageDraw

from curr_reft.data.reformat.__main__ import main as reformat
from curr_reft.errors import InputError
from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.evaluation.report.command import main as report
from curr_reft.rewards.functions import reward_functions
from curr_reft.stages import STAGES, Stage
from curr_reft.tasks import registry
from curr_reft.training.preview.__main__ import find_stage
from curr_reft.training.preview.__main__ import main as preview
from curr_reft.training.run import prepare, run_stage

TEXTS = ("EXIT 12", "STOP", "MILK 2%", "GATE B", "OPEN", "NO ENTRY", "Room 7", "PUSH")
REWARD = """
import numpy as np

def brevity(completions, image, log_metric, max_words=20, **_):
    assert all(each.size == (84, 84) for each in image)
    log_metric("words", 1.0)
    return [np.float32(len(messages[0]["content"].split()) <= max_words) for messages in completions]
"""


@pytest.fixture
def own_tasks(monkeypatch):
    """What a test adds to the registry is gone after it."""
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    monkeypatch.setattr(registry, "_files", set())


@pytest.fixture
def signs(tmp_path):
    """Images of texts, and an open row about each."""
    root = tmp_path / "data"
    root.mkdir()
    rows = []
    for number, text in enumerate(TEXTS):
        image = Image.new("RGB", (84, 84), "white")
        ImageDraw.Draw(image).text((8, 30), text, fill="black")
        image.save(root / f"{number}.png")
        row = {"problem": "What is written here?", "solution": f"<answer>{text}</answer>"}
        rows.append({**row, "task": "ocr", "image": f"{number}.png"})
    (root / "open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for stage in STAGES:
        (root / f"{stage}.yaml").write_text(f"train_datasets:\n  - json_path: {stage}.jsonl\n")
    (root / "suites.yaml").write_text("suites: {signs: {task: ocr, domain: out, json_path: open.jsonl}}\n")
    return root


@pytest.mark.slow
def test_from_rows_to_report(root, signs, tiny_base, trainers, own_tasks, tmp_path, capsys):
    tasks = ("--tasks", str(root / "tests/own_task/ocr.py"))
    made = ("--judge", str(signs / "judge.jsonl"), "--choice", str(signs / "choice.jsonl"))
    reformat([str(signs / "open.jsonl"), "--image_root", str(signs), *made, *tasks])
    claims = [json.loads(line) for line in (signs / "judge.jsonl").read_text().splitlines()]
    assert sum(row["solution"] == "<answer>yes</answer>" for row in claims) == len(TEXTS) / 2

    (tmp_path / "my_rewards.py").write_text(REWARD)
    rewards = ("--reward_funcs", "accuracy", "format", f"{tmp_path / 'my_rewards.py'}:brevity")
    model = tiny_base
    for stage in STAGES:
        flags = [
            *("--model_name_or_path", str(model), "--dataset_name", str(signs / f"{stage}.yaml")),
            *("--image_root", str(signs), "--output_dir", str(tmp_path / stage), *tasks, *rewards),
            *("--max_completion_length", "16", "--max_steps", "2", "--logging_steps", "1"),
        ]
        preview([*flags, "--stage", stage, "--output_dir", str(tmp_path / "preview")])
        run_stage(trainers[stage], flags)
        model = tmp_path / stage
        (log, *_) = json.loads((model / "trainer_state.json").read_text())["log_history"]
        assert {"accuracy/ocr", "rewards/brevity/mean"} <= log.keys()
        files = json.loads((model / "manifest.json").read_text())["code"]
        assert [re.sub(r".*/", "", name) for name in files] == ["ocr.py", "my_rewards.py"]

    asked = ("--final_only", "--suites_config", str(signs / "suites.yaml"), "--data_root", str(signs))
    evaluate(
        [
            "--model",
            str(model),
            *asked,
            "--output_dir",
            str(tmp_path / "scores"),
            *tasks,
            "--max_new_tokens",
            "8",
        ]
    )
    (scores,) = json.loads((tmp_path / "scores/scores.json").read_text())["scores"].values()
    assert (scores["task"], scores["n"], scores["released"]) == ("ocr", len(TEXTS), None)
    report([str(tmp_path / "scores"), "--domain", "all", "--output_dir", str(tmp_path / "report")])
    assert "signs" in (tmp_path / "report/report.html").read_text()
    assert "ocr" in capsys.readouterr().out


def test_a_fourth_stage_is_a_row(signs, root, tiny_base, own_tasks, tmp_path, monkeypatch):
    monkeypatch.setitem(STAGES, "spell", Stage("spell", 4, "open", " Spell it out."))
    (signs / "spell.yaml").write_text("train_datasets:\n  - json_path: open.jsonl\n")
    flags = [
        *("--model_name_or_path", str(tiny_base), "--dataset_name", str(signs / "spell.yaml")),
        *("--image_root", str(signs), "--output_dir", str(tmp_path / "run")),
        *("--tasks", str(root / "tests/own_task/ocr.py")),
    ]
    run = prepare(STAGES["spell"], flags)
    # The task's own ending for answers that are open goes before the stage's, and the stage's for this task
    # before both.
    assert run.plan.train.dataset[0]["prompt"][0]["content"].endswith("and nothing else.")
    stage = replace(STAGES["spell"], endings={"ocr": " Letter by letter."})
    assert registry.asking_of(stage, "ocr").instruction.endswith(" Letter by letter.")
    assert registry.asking_of(stage, "math").instruction.endswith(" Spell it out.")
    assert find_stage(None, f"configs/tiny/{stage.title}.yaml") is STAGES["spell"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"must define TASKS, a curr_reft\.tasks\.task\.Task or a list of them"),
        ("TASKS = []\n", "must define TASKS"),
        ("TASKS = ['ocr']\n", "must define TASKS"),
        ("\nTASKS = (\n", r"mine\.py:2: SyntaxError"),
        ("import nowhere_to_be_found\n", r"mine\.py:1: ModuleNotFoundError"),
        (
            "from curr_reft.tasks.task import Task\n\nTASKS = Task(name='a', title='a')\n",
            r"mine\.py:3: TypeError: .*missing 2 required keyword-only arguments: 'rules' and 'distractors'",
        ),
        (
            "from curr_reft.tasks.task import Task\n"
            "TASKS = Task(name='math', title='m', rules=(1,), distractors=1)\n",
            "'math' is the name of another task",
        ),
        (
            "from curr_reft.tasks.task import Task\n"
            "TASKS = [Task(name='a', title='a', rules=(1,), distractors=1, aliases=['classification'])]\n",
            "'classification' is the name of another task",
        ),
        (
            "from curr_reft.tasks.task import Task\n"
            "TASKS = Task(name='a', title='a', rules=(), distractors=1)\n",
            r"mine\.py:2: ValueError: rules: expected a tuple of one or more Rule",
        ),
        (
            "from curr_reft.tasks.task import Task\n"
            "TASKS = Task(name='a', title='a', rules=(1,), distractors=1, endings={'opne': ''})\n",
            r"mine\.py:2: ValueError: endings and budgets: 'opne' is none of verdict, letters, open",
        ),
        ("import sys\nsys.exit(3)\n", r"mine\.py:2: SystemExit: 3"),
    ],
)
def test_bad_task_files_are_one_line(text, message, own_tasks, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        registry.load_task_file(path)
    assert str(raised.value).startswith(f"--tasks {path}")
    assert len(registry.known_tasks()) == 3


def test_a_file_is_loaded_once_and_one_that_is_not_there_is_named(own_tasks, root, tmp_path):
    for _ in range(2):
        registry.load_task_file(root / "tests/own_task/ocr.py")
    assert registry.task_title("ocr") == "reading"
    with pytest.raises(InputError, match="no such Python file"):
        registry.load_task_file(tmp_path / "gone.py")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0]", "returned .1.0. for 2 completions"),
        ("return 3", "returned 3 for 2 completions"),
        ("return ['a', 1]", "returned 'a', which is no number"),
        ("return [kwargs['nothing'], 1]", r"mine\.py:2: KeyError: 'nothing'"),
    ],
)
def test_a_reward_that_returns_no_rewards_is_named(body, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"def reward(completions, **kwargs):\n    {body}\n")
    (reward,) = reward_functions(STAGES["open"], [f"{path}:reward"], "paper")
    with pytest.raises(InputError, match=message):
        reward(completions=[[{"content": "a"}], [{"content": "b"}]])


def test_rewards_that_are_not_there_are_named(tmp_path):
    (tmp_path / "mine.py").write_text("def one(completions, **_):\n    return [0] * len(completions)\n")
    for name, message in [
        (f"{tmp_path / 'mine.py'}:two", "defines no function two"),
        (f"{tmp_path / 'gone.py'}:one", "no such Python file"),
        ("accurracy", "choose among accuracy, format, or give FILE.py:FUNCTION"),
    ]:
        with pytest.raises(InputError, match=message):
            reward_functions(STAGES["open"], [name], "paper")
    (tmp_path / "late.py").write_text("async def one(completions, **_):\n    return [0]\n")
    with pytest.raises(InputError, match="an async function"):
        reward_functions(STAGES["open"], [f"{tmp_path / 'late.py'}:one"], "paper")
    with pytest.raises(InputError, match="one is there twice"):
        reward_functions(STAGES["open"], [f"{tmp_path / 'mine.py'}:one"] * 2, "paper")


def test_tasks_lend_each_other_no_answers(own_tasks, signs, tmp_path):
    ocr = "from curr_reft.tasks.distractors import Texts\nfrom curr_reft.tasks.task import Task\n"
    ocr += "from curr_reft.tasks.math import TASK\n"
    ocr += "TASKS = [Task(name=n, title=n, rules=TASK.rules, distractors=lambda row: Texts) for n in 'ab']\n"
    (tmp_path / "two.py").write_text(ocr)
    rows = [
        {"problem": "?", "solution": f"<answer>{first + n}</answer>", "task": task, "image": f"{n}.png"}
        for task, first in (("a", 100), ("b", 900))
        for n in range(8)
    ]
    (signs / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choice = signs / "choice.jsonl"
    flags = ("--image_root", str(signs), "--choice", str(choice), "--tasks", str(tmp_path / "two.py"))
    reformat([str(signs / "two.jsonl"), *flags])
    for row in map(json.loads, choice.read_text().splitlines()):
        assert {number[0] for number in re.findall(r"\d{3}", row["problem"])} == {
            "1" if row["task"] == "a" else "9"
        }
