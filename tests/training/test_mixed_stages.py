"""One run on judge, choice and open rows: each is asked, shown and scored as in a run of its own stage."""

import json

import pytest
from PIL import Image

from curr_reft.errors import InputError
from curr_reft.stages import STAGES
from curr_reft.training.run import prepare, run_stage

ROW = {
    "problem": "Where is the red circle? A. [30, 40, 270, 280] B. [0, 0, 9, 9]",
    "solution": "<answer>[30, 40, 270, 280]</answer>",
    "task": "detection",
    "image": "large.png",
}


@pytest.fixture
def mixed(stage_flags, root):
    """Flags of a run on the embedded world's mixture."""

    def flags(*more):
        mixture = root / "configs/data/mixed/shapes.yaml"
        return stage_flags("open", "--dataset_name", str(mixture), *more)

    return flags


@pytest.fixture
def write_mixture(tmp_path):
    """Write a file of one row for each stage and a mixture of them; returns the flags that use it."""

    def write(golds):
        root = tmp_path / "data"
        root.mkdir(exist_ok=True)
        Image.new("RGB", (1500, 900), "navy").save(root / "large.png")
        entries = []
        for stage, gold in golds.items():
            row = {**ROW, "solution": f"<answer>{gold}</answer>"}
            (root / f"{stage}.jsonl").write_text(json.dumps(row))
            entries.append(f"{{json_path: {stage}.jsonl, stage: {stage}}}")
        (root / "mix.yaml").write_text(f"train_datasets: [{', '.join(entries)}]")
        return ["--dataset_name", str(root / "mix.yaml"), "--image_root", str(root)]

    return write


ONE_PROMPT = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "1", "--dry_run")
GOLDS = {"judge": "yes", "choice": "A", "open": [30, 40, 270, 280]}


def test_rows_are_what_runs_of_their_own_stages_make_of_them(mixed, stage_flags):
    split = prepare(STAGES["open"], mixed("--dry_run")).plan.train
    rows = list(split.dataset.with_format(None))
    assert len(rows) == 36
    for stage in STAGES:
        own = prepare(STAGES[stage], stage_flags(stage, "--dry_run")).plan.train
        expected = {
            row["id"]: (row, tokens)
            for row, tokens in zip(own.dataset.with_format(None), own.prompt_tokens, strict=True)
        }
        found = [
            (row, tokens)
            for row, tokens in zip(rows, split.prompt_tokens, strict=True)
            if row["stage"] == stage
        ]
        assert len(found) == 12
        assert found == [expected[row["id"]] for row, _ in found]


def test_the_run_s_own_stage_makes_no_difference(mixed):
    splits = [prepare(STAGES[stage], mixed("--dry_run")).plan.train for stage in ("judge", "open")]
    assert list(splits[0].dataset.with_format(None)) == list(splits[1].dataset.with_format(None))


def test_image_and_boxes_have_the_size_of_the_row_s_stage(stage_flags, write_mixture):
    large = ("--max_pixels", "2000000", "--max_prompt_length", "4000")
    flags = stage_flags("open", *write_mixture(GOLDS), *ONE_PROMPT, *large)
    split = prepare(STAGES["open"], flags).plan.train
    judge, choice, open_ = split.dataset[:]["image"]
    # The judge stage shrinks no image.
    assert judge.size == (1500, 900)
    assert choice.size == open_.size == (836, 501)
    assert split.image_tokens[0] > split.image_tokens[1] == split.image_tokens[2]
    prompts = [row["prompt"][0]["content"] for row in split.dataset.with_format(None)]
    assert "[30, 40, 270, 280]" in prompts[0]
    assert "[30, 40, 270, 280]" not in prompts[1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"judge": "[1, 2, 3, 4]"}, "judge.jsonl:1"), ({"choice": "yes"}, "choice.jsonl:1")],
)
def test_a_gold_of_another_stage_is_named(wrong, message, stage_flags, write_mixture):
    flags = stage_flags("open", *write_mixture({**GOLDS, **wrong}), *ONE_PROMPT)
    with pytest.raises(InputError, match=message):
        prepare(STAGES["open"], flags)


def test_the_plan_shows_rows_and_rewards_by_stage(mixed, trainers, capsys):
    run_stage(trainers["open"], mixed("--dry_run"))
    text = capsys.readouterr().out
    assert "36 (classify 12, detection 12, math 12; judge 12, choice 12, open 12)" in text
    for stage in STAGES:
        assert f" {stage} detection " in text
    assert text.count("1 accuracy + 1 format") == 9


def test_an_unknown_stage_ends_with_exit_code_2(stage_flags, write_mixture, trainers, tmp_path, refused):
    flags = write_mixture(GOLDS)
    mixture = tmp_path / "data/mix.yaml"
    mixture.write_text(mixture.read_text().replace("stage: choice", "stage: choise"))
    error = refused(lambda: run_stage(trainers["open"], stage_flags("open", *flags)))
    assert error.splitlines()[-1] == (
        f"error: {mixture}: train_datasets[1]: stage: 'choise' is none of judge, choice, open"
    )


@pytest.mark.slow
def test_a_mixed_run_trains_and_logs_accuracy_by_stage(mixed, trainers, tmp_path):
    size = ("--per_device_train_batch_size", "9", "--gradient_accumulation_steps", "1")
    more = ("--max_steps", "2", "--logging_steps", "1", "--num_generations", "2", "--report_to", "none")
    run_stage(trainers["open"], mixed(*size, *more, "--eval_strategy", "steps", "--eval_steps", "2"))
    out = tmp_path / "run"
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["status"], manifest["stage"]) == ("finished", "open")
    assert {file["stage"] for file in manifest["data"]} == set(STAGES)
    logs = json.loads((out / "trainer_state.json").read_text())["log_history"]
    keys = {key for entry in logs for key in entry}
    # Of the stages other than the run's.
    assert {f"{prefix}accuracy/{stage}" for stage in ("judge", "choice") for prefix in ("", "eval_")} <= keys
    assert any(key in keys for key in ("accuracy/detection", "accuracy/classify", "accuracy/math"))
