"""Stages from the command line: plans, bad input, training, metrics, resume."""

import json
import re
import shutil

import pandas
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from curr_reft.errors import InputError
from curr_reft.files.tables import console
from curr_reft.stages import STAGES
from curr_reft.training.plan import print_plan
from curr_reft.training.resume import Start
from curr_reft.training.run import build_trainer, prepare, run_stage


def rows(*changes, base=None):
    """Rows of one detection problem each, with fields replaced."""
    row = base or {
        "problem": "Please give the bounding box of the red circle.",
        "solution": '<answer>{"bbox_2d": [3, 4, 27, 28]}</answer>',
        "task": "detection",
        "image": "one.png",
    }
    return [{**row, **change} for change in changes]


@pytest.fixture
def write_data(tmp_path):
    """Write rows and an image, and return the flags that point at them."""

    def write(items, text=None, size=(84, 84)):
        root = tmp_path / "data"
        root.mkdir(exist_ok=True)
        Image.new("RGB", size, "navy").save(root / "one.png")
        lines = text if text is not None else "".join(json.dumps(item) + "\n" for item in items)
        (root / "rows.jsonl").write_text(lines)
        (root / "mix.yaml").write_text("train_datasets:\n  - json_path: rows.jsonl\n")
        return ["--dataset_name", str(root / "mix.yaml"), "--image_root", str(root)]

    return write


@pytest.mark.parametrize("stage", list(STAGES))
def test_dry_run_prints_the_plan_and_writes_nothing(stage, stage_flags, trainers, tmp_path, capsys):
    run_stage(trainers[stage], stage_flags(stage, "--dry_run"))
    text = capsys.readouterr().out
    assert f"Stage {STAGES[stage].number}, {stage}" in text
    assert "36 (classify 12, detection 12, math 12)" in text
    assert "4 (4 each)" in text
    assert "36 (1 epochs)" in text
    assert "<|vision_start|><|image_pad|><|vision_end|>" in text
    assert text.count("1 accuracy + 1 format") == 3
    assert not (tmp_path / "run").exists()


def test_plan_counts_dropped_rows(stage_flags, trainers, write_data, capsys):
    long = {"problem": "Where is the circle? " * 60}
    data = write_data(rows({}, {"image": "gone.png"}, long, {}))
    flags = stage_flags("open", *data, "--max_prompt_length", "200", "--allow_missing_images", "--dry_run")
    run = prepare(trainers["open"].stage, flags)
    assert len(run.plan.train.dataset) == 2
    assert [row.rsplit(":", 1)[1] for row in run.plan.train.too_long] == ["3"]
    assert [row.rsplit(":", 1)[1] for row in run.plan.dropped] == ["2"]
    print_plan(run.plan, run.config, run.processor, run.data, console(200))
    assert "gone.png" in capsys.readouterr().out


def test_boxes_and_tokens_follow_the_image_budget(stage_flags, trainers, write_data):
    data = write_data(rows({"solution": "<answer>[100, 100, 900, 700]</answer>"}), size=(1000, 800))
    run = prepare(trainers["open"].stage, stage_flags("open", *data, "--dry_run"))
    row = run.plan.train.dataset[0]
    scale = row["image"].width / 1000
    assert row["image"].width * row["image"].height <= 420_000
    assert scale < 1
    box = json.loads(row["solution"].removeprefix("<answer>").removesuffix("</answer>"))
    assert box == pytest.approx([100 * scale, 100 * scale, 900 * scale, 700 * scale], abs=1)

    turn = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": row["prompt"][0]["content"]}],
        }
    ]
    text = run.processor.apply_chat_template(turn, add_generation_prompt=True)
    ids = run.processor(text=[text], images=[row["image"]], return_tensors="pt")["input_ids"]
    assert list(run.plan.train.prompt_tokens) == [ids.shape[1]]


def test_max_pixels_bounds_the_image_tokens(stage_flags, trainers, write_data):
    data = write_data(rows({}), size=(280, 280))
    wide = prepare(trainers["open"].stage, stage_flags("open", *data, "--dry_run"))
    narrow = prepare(trainers["open"].stage, stage_flags("open", *data, "--max_pixels", "19600", "--dry_run"))
    assert [*wide.plan.train.image_tokens, *narrow.plan.train.image_tokens] == [100, 25]


def test_processed_frame_scales_boxes_to_the_processors_size(stage_flags, trainers, write_data):
    data = write_data(rows({"solution": "<answer>[10, 10, 90, 90]</answer>"}), size=(100, 100))
    flags = stage_flags("open", *data, "--box_frame", "processed", "--dry_run")
    run = prepare(trainers["open"].stage, flags)
    # 100 pixels become 112, the nearest multiple of 28.
    assert run.plan.train.dataset.with_format(None)[0]["solution"] == "<answer>[11, 11, 101, 101]</answer>"


BAD_BOXES = [[30, 4, 27, 28], [3, 4, 99, 28], [3, 28, 27, 28]]


def test_bad_gold_boxes_stop_the_run_or_are_dropped(stage_flags, trainers, write_data):
    solutions = [
        f'<answer>{{"bbox_2d": {box}}}</answer>' for box in [*BAD_BOXES, [3, 4, 27, 28], [3, 4, 85, 28]]
    ]
    flags = stage_flags("open", *write_data(rows(*({"solution": text} for text in solutions))), "--dry_run")
    with pytest.raises(InputError) as caught:
        prepare(trainers["open"].stage, flags)
    assert "bad gold boxes in 3 rows" in str(caught.value)
    assert "rows.jsonl:2: box [3.0, 4.0, 99.0, 28.0]: leaves its image of 84x84 pixels" in str(caught.value)
    run = prepare(trainers["open"].stage, [*flags, "--drop_bad_boxes"])
    assert [row.rsplit(":", 1)[1] for row in run.plan.dropped] == ["1", "2", "3"]
    assert len(run.plan.train.dataset) == 2


def test_wrong_answers_may_be_any_boxes(stage_flags, trainers, write_data):
    """Released options are x, y, width and height now and then: only golds are held to be boxes."""
    row = {"problem": "A. [192, 186, 368, 394] B. [458, 179, 81, 223]", "solution": "<answer>A</answer>"}
    flags = stage_flags("choice", *write_data(rows(row)), "--dry_run")
    assert len(prepare(trainers["choice"].stage, flags).plan.train.dataset) == 1


@pytest.mark.parametrize(
    ("items", "text", "message"),
    [
        ([], '{"problem": \n', "rows.jsonl:1"),
        (rows({}, {"task": "segmentation"}), None, "rows.jsonl:2: task"),
        (rows({"solution": "[3, 4, 27, 28]"}), None, "rows.jsonl:1: solution"),
        (rows({"solution": "<answer>a dog</answer>"}), None, "rows.jsonl:1"),
        (rows({"image": "gone.png"}), None, "gone.png"),
        (rows({"image": "rows.jsonl"}), None, "rows.jsonl"),
        ([], "", "rows.jsonl"),
    ],
)
def test_bad_rows_stop_the_run(items, text, message, stage_flags, trainers, write_data):
    with pytest.raises(InputError) as caught:
        prepare(trainers["open"].stage, stage_flags("open", *write_data(items, text)))
    assert message in str(caught.value)


def test_fewer_rows_than_one_step_is_an_error(stage_flags, trainers, write_data):
    flags = stage_flags("open", *write_data(rows({}, {})), "--per_device_train_batch_size", "3")
    with pytest.raises(InputError, match="2 rows are fewer than the 3 prompts"):
        prepare(trainers["open"].stage, flags)


def test_strict_prompt_length_names_the_row(stage_flags, trainers):
    with pytest.raises(InputError, match=r"jsonl:1"):
        prepare(trainers["open"].stage, stage_flags("open", "--max_prompt_length", "20"))
    with pytest.raises(InputError, match="exceed --max_prompt_length 40"):
        prepare(
            trainers["open"].stage, stage_flags("open", "--max_prompt_length", "40", "--strict_prompt_length")
        )


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--model_name_or_path", "./nowhere", "./nowhere: no such directory"),
        ("--image_root", "./nowhere", "nowhere"),
        ("--dataset_name", "./nowhere.yaml", "nowhere.yaml"),
        ("--reward_funcs", "accuracy iou", "--reward_funcs iou"),
        ("--torch_dtype", "bf16", "invalid choice: 'bf16'"),
        ("--attn_implementation", "flash", "--attn_implementation flash: use one of eager, sdpa"),
        ("--report_to", "wandbb", "--report_to wandbb: use one of none"),
        ("--max_completion_length", "0", "must be at least 1"),
        ("--per_device_eval_batch_size", "0", "must be at least 1"),
        ("--num_generations_eval", "1", "--num_generations_eval 1"),
        ("--reward_weights", "1 2 3", "--reward_weights [1.0, 2.0, 3.0]"),
        ("--max_pixels", "-5", "expected 1 <= min <= max"),
        ("--reward_variant", "papers", "invalid choice: 'papers' (choose from 'paper', 'released')"),
        ("--attn_implementation", "flash_attention_2", "setup.sh --flash-attn"),
        ("--attn_implementation", "flash_attention_3", "flash_attention_3: not usable here"),
        ("--resume_from_checkpoint", "./nowhere", "./nowhere: no such directory"),
        ("--save_steps", "3 --num_iterations 2", "--save_steps 3: a rollout is learned from in 2 steps"),
    ],
)
def test_bad_paths_and_choices(flag, value, message, stage_flags, trainers):
    with pytest.raises(InputError) as caught:
        prepare(trainers["judge"].stage, stage_flags("judge", flag, *value.split()))
    assert message in str(caught.value)


def test_the_released_rewards_refuse_no_gold_and_pay_for_any_math(stage_flags, trainers, write_data, capsys):
    data = write_data(rows({"task": "math", "solution": "<answer>. </answer>"}, {"task": "math"}))
    with pytest.raises(InputError, match=r"rows\.jsonl:1: solution .* holds no gold"):
        prepare(trainers["choice"].stage, stage_flags("choice", *data, "--dry_run"))
    run_stage(trainers["open"], stage_flags("open", *data, "--dry_run", "--reward_variant", "released"))
    text = capsys.readouterr().out
    assert "rewards, released" in text
    assert text.count("1 accuracy + 1 format") == 2


def test_the_plan_says_how_much_memory_and_time_a_run_takes(
    stage_flags, trainers, tmp_path, monkeypatch, capsys
):
    flags = stage_flags("judge", "--max_steps", "12", "--dry_run")
    run_stage(trainers["judge"], flags)
    text = capsys.readouterr().out
    assert "memory per device, estimated" in text
    assert "time left" not in text
    log = [{"step_time": seconds} for seconds in (30.0, 31.0, 700.0)]
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 2, "log_history": log}))
    monkeypatch.setattr("curr_reft.training.run.find_start", lambda *_: Start(checkpoint))
    run_stage(trainers["judge"], flags)
    assert re.search(r"time left +│ 0:05:10, as fast as before", capsys.readouterr().out)


def test_a_place_that_cannot_be_written_is_said_before_the_data_is_read(stage_flags, trainers, tmp_path):
    (tmp_path / "file").write_text("")
    flags = stage_flags("judge", "--output_dir", str(tmp_path / "file/run"), "--image_root", "./nowhere")
    with pytest.raises(InputError, match=r"--output_dir .*file/run: cannot be written \(Not a directory\)"):
        prepare(trainers["judge"].stage, flags)


def test_flash_attention_is_a_note_in_a_dry_run(stage_flags, trainers, capsys):
    run_stage(
        trainers["judge"], stage_flags("judge", "--attn_implementation", "flash_attention_2", "--dry_run")
    )
    assert "note: --attn_implementation flash_attention_2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["processor_config.json"], "processor"),
        (["tokenizer.json", "tokenizer_config.json"], "tokenizer"),
        (["tokenizer.json"], "tokenizer"),
        (["chat_template.jinja"], "no chat template"),
        (["model.safetensors"], "no weights"),
        (["config.json"], "config.json"),
    ],
)
def test_incomplete_checkpoint(removed, message, stage_flags, trainers, tiny_base, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_base, bare)
    # Trainers leave this one beside the weights; it holds none.
    (bare / "training_args.bin").touch()
    for name in removed:
        (bare / name).unlink()
    with pytest.raises(InputError, match=message):
        prepare(trainers["judge"].stage, stage_flags("judge", "--model_name_or_path", str(bare)))


def test_configuration_of_another_shape(stage_flags, trainers, tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "odd")
    (tmp_path / "odd/config.json").write_text("[]")
    with pytest.raises(InputError, match="cannot be loaded"):
        prepare(trainers["judge"].stage, stage_flags("judge", "--model_name_or_path", str(tmp_path / "odd")))


def test_an_image_too_thin_for_the_processor_is_named(stage_flags, trainers, write_data):
    data = write_data(rows({}), size=(300, 1))
    with pytest.raises(InputError, match=r"one\.png: 300x1, one side over 200 times the other"):
        prepare(trainers["judge"].stage, stage_flags("judge", *data))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("[]", "not the manifest"),
        ("{}", "not the manifest"),
        ("{", "not JSON"),
        ('{"status": "running", "stage": "open", "config": {"model_name_or_path": "x"}}', "of open from x"),
    ],
)
def test_output_directory_of_something_else(contents, message, stage_flags, trainers, tmp_path):
    (tmp_path / "run/checkpoint-1").mkdir(parents=True)
    (tmp_path / "run/manifest.json").write_text(contents)
    with pytest.raises(InputError, match=message):
        prepare(trainers["judge"].stage, stage_flags("judge"))


def test_output_directory_that_is_a_file_or_holds_other_folders(stage_flags, trainers, tmp_path):
    (tmp_path / "run/checkpoint-best").mkdir(parents=True)
    assert prepare(trainers["judge"].stage, stage_flags("judge")).resume_from is None
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\)"):
        prepare(trainers["judge"].stage, stage_flags("judge", "--output_dir", str(tmp_path / "file")))


def test_evaluation_without_validation_rows_is_refused(stage_flags, trainers, write_data):
    data = write_data(rows({}, {}))
    with pytest.raises(InputError, match=r"--eval_strategy steps: .*mix\.yaml lists no val_datasets"):
        prepare(trainers["judge"].stage, stage_flags("judge", *data, "--eval_strategy", "steps"))


def test_model_flags_reach_the_model(stage_flags, trainers, tmp_path):
    def build(*flags):
        flags = stage_flags("judge", "--output_dir", str(tmp_path / "_".join(flags)), *flags)
        return build_trainer(prepare(trainers["judge"].stage, flags), trainers["judge"])

    plain = build()
    assert plain.model.dtype == torch.float32
    assert not plain.model.is_gradient_checkpointing
    assert build("--torch_dtype", "bfloat16").model.dtype == torch.bfloat16
    checkpointing = build("--gradient_checkpointing", "true", "--max_steps", "1")
    checkpointing.train()
    assert checkpointing.model.is_gradient_checkpointing
    for name in ("eager", "sdpa"):
        assert build("--attn_implementation", name).model.config._attn_implementation == name


def test_error_is_one_line_and_exit_code_2(stage_flags, trainers, refused):
    error = (
        refused(lambda: run_stage(trainers["judge"], stage_flags("judge", "--num_generations", "1")))
        .strip()
        .splitlines()[-1]
    )
    assert error == "error: --num_generations 1: a group advantage needs at least 2"


def test_right_padding_is_refused(stage_flags, trainers):
    run = prepare(trainers["judge"].stage, stage_flags("judge"))
    run.processor.tokenizer.padding_side = "right"
    with pytest.raises(InputError, match="pads on the right"):
        build_trainer(run, trainers["judge"])


def test_data_seed_alone_orders_the_prompts(stage_flags, trainers):
    def order(*flags):
        run = prepare(trainers["judge"].stage, stage_flags("judge", *flags))
        return list(build_trainer(run, trainers["judge"])._get_train_sampler())

    first = order("--data_seed", "1", "--seed", "5")
    assert first == order("--data_seed", "1", "--seed", "6")
    assert first != order("--data_seed", "2", "--seed", "5")


@pytest.fixture
def seen_prompts(stage_flags, trainers, monkeypatch):
    """Run a stage without rollouts and return, for each of its steps, the ids of the rows it was given."""

    def run(*flags):
        settings = prepare(trainers["judge"].stage, stage_flags("judge", *flags))
        trainer = build_trainer(settings, trainers["judge"])
        steps = []

        def training_step(model, inputs, *_):
            steps.append([row["id"] for row in inputs])
            return torch.zeros(())

        monkeypatch.setattr(trainer, "training_step", training_step)
        trainer.train(resume_from_checkpoint=settings.resume_from)
        return steps

    return run


def test_each_epoch_has_an_order_of_its_own_by_data_seed_also_after_a_resume(seen_prompts, tmp_path):
    more = ("--per_device_train_batch_size", "2", "--num_generations", "2", "--data_seed", "3")
    more += ("--num_train_epochs", "3", "--save_only_model", "false", "--save_strategy", "steps")
    whole = seen_prompts(*more, "--save_steps", "1000", "--output_dir", str(tmp_path / "whole"))
    epoch = len(whole) // 3
    shifted = (*more, "--data_seed", "4", "--output_dir", str(tmp_path / "shifted"), "--save_steps", "1000")
    assert seen_prompts(*shifted)[:epoch] == whole[epoch : 2 * epoch]
    assert whole[:epoch] != whole[epoch : 2 * epoch]
    stop = epoch + 2
    first = seen_prompts(*more, "--save_steps", "1", "--max_steps", str(stop))
    assert first == whole[:stop]
    last = max((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    assert seen_prompts(*more, "--save_steps", "1000", "--resume_from_checkpoint", str(last)) == whole[stop:]


@pytest.fixture
def trained(stage_flags, trainers, tmp_path):
    """Run a stage for a few steps and return its directory."""

    def run(stage, *flags):
        run_stage(trainers[stage], stage_flags(stage, "--per_device_train_batch_size", "2", *flags))
        return tmp_path / "run"

    return run


@pytest.mark.slow
def test_a_stage_trains_evaluates_logs_and_leaves_a_checkpoint(trained, tiny_base, stage_flags, trainers):
    out = trained(
        "open",
        *("--max_steps", "3", "--learning_rate", "1e-3", "--beta", "0.1", "--report_to", "tensorboard"),
        *("--eval_strategy", "steps", "--eval_steps", "3", "--log_completions", "--save_steps", "2"),
    )
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["status"], manifest["stage"], manifest["reward_variant"]) == (
        "finished",
        "open",
        "paper",
    )
    assert manifest["packages"]["trl"] == "1.16.0"
    assert all(len(file["sha256"]) == 64 for file in manifest["data"])
    assert manifest["prompts_per_device"] == 2

    logs = json.loads((out / "trainer_state.json").read_text())["log_history"]
    keys = {key for entry in logs for key in entry}
    assert {
        "rewards/accuracy/mean",
        "rewards/format/mean",
        "kl",
        "frac_reward_zero_std",
        "math_timeout",
    } <= keys
    assert any(key.startswith("accuracy/") for key in keys)
    assert any(key.startswith("eval_accuracy/") for key in keys)
    assert "eval_reward" in keys
    table = pandas.concat(pandas.read_parquet(path) for path in sorted((out / "completions").iterdir()))
    assert {"prompt", "completion", "accuracy", "format", "advantage"} <= set(table.columns)
    assert list(out.glob("**/events.out.tfevents*"))

    before, after = load_file(tiny_base / "model.safetensors"), load_file(out / "model.safetensors")
    moved = [name for name in before if not torch.equal(before[name].float(), after[name].float())]
    assert len(moved) == len(before)

    with pytest.raises(InputError, match="holds a finished run"):
        prepare(trainers["open"].stage, stage_flags("open"))
    # The next stage, or an evaluation, can start from what this one left.
    prepare(
        trainers["judge"].stage,
        stage_flags("judge", "--model_name_or_path", str(out), "--output_dir", "next"),
    )


@pytest.mark.slow
def test_an_unfinished_run_goes_on_and_keeps_its_reference(trained, stage_flags, trainers, tiny_base, caplog):
    out = trained("judge", "--max_steps", "4", "--save_steps", "2", "--learning_rate", "1e-3")
    halfway = AutoModelForImageTextToText.from_pretrained(out / "checkpoint-2").state_dict()
    unbroken = AutoModelForImageTextToText.from_pretrained(out).state_dict()

    shutil.rmtree(out / "checkpoint-4")
    (out / "model.safetensors").unlink()
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    flags = stage_flags("judge", "--per_device_train_batch_size", "2", "--max_steps", "4")
    flags += ["--learning_rate", "1e-3"]
    run = prepare(trainers["judge"].stage, flags)
    assert run.resume_from == str(out / "checkpoint-2")
    trainer = build_trainer(run, trainers["judge"])
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).state_dict()
    assert all(torch.equal(trainer.ref_model.state_dict()[name], value) for name, value in base.items())
    trainer.train(resume_from_checkpoint=run.resume_from)
    assert trainer.state.global_step == 4
    resumed = trainer.model.state_dict()
    assert not any(torch.equal(resumed[name], value) for name, value in halfway.items())
    assert all(torch.equal(resumed[name], value) for name, value in unbroken.items())

    with pytest.raises(InputError, match="holds an unfinished run of judge from"):
        prepare(trainers["judge"].stage, [*flags, "--model_name_or_path", str(out / "checkpoint-2")])
    (out / "checkpoint-4/optimizer.pt").unlink()
    assert prepare(trainers["judge"].stage, flags).resume_from == str(out / "checkpoint-2")


@pytest.mark.slow
def test_planned_steps_are_the_steps_taken(trained, stage_flags, trainers):
    flags = (
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--num_generations"),
        "2",
    )
    planned = prepare(trainers["choice"].stage, stage_flags("choice", *flags)).plan
    assert (planned.prompts_per_step, planned.completions_per_step, planned.steps) == (8, 16, 4)
    out = trained(
        "choice", *flags, "--report_to", "wandb", "--log_completions", "--max_completion_length", "8"
    )
    assert json.loads((out / "trainer_state.json").read_text())["global_step"] == 4
    tables = [pandas.read_parquet(path) for path in sorted((out / "completions").iterdir())]
    assert [len(table) for table in tables] == [16] * 4
