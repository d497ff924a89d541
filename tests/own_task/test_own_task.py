"""A task and a reward of one's own, each in a file, through every command; files that define none."""

import json
import re

import pytest
from PIL import Image, ImageDraw

from curr_reft.data.reformat.__main__ import main as reformat
from curr_reft.errors import InputError
from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.evaluation.report.command import main as report
from curr_reft.rewards.functions import reward_functions
from curr_reft.stages import STAGES, Stage
from curr_reft.tasks import registry
from curr_reft.training.preview.__main__ import main as preview
from curr_reft.training.run import prepare, run_stage

TEXTS = ("EXIT 12", "STOP", "MILK 2%", "GATE B", "OPEN", "NO ENTRY", "Room 7", "PUSH")
REWARD = """
def brevity(completions, max_words=20, **_):
    return [float(len(messages[0]["content"].split()) <= max_words) for messages in completions]
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
    # The task's own ending for answers that are open goes before the stage's.
    assert run.plan.train.dataset[0]["prompt"][0]["content"].endswith("and nothing else.")
    assert STAGES["spell"].title == "stage4_spell"


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
            "TASKS = Task(name='math', title='m', rules=(), distractors=1)\n",
            "'math' is the name of another task",
        ),
        (
            "from curr_reft.tasks.task import Task\n"
            "TASKS = [Task(name='a', title='a', rules=(), distractors=1, aliases=['classification'])]\n",
            "'classification' is the name of another task",
        ),
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
    with pytest.raises(InputError, match="one is there twice"):
        reward_functions(STAGES["open"], [f"{tmp_path / 'mine.py'}:one"] * 2, "paper")
