"""Flags of ms-swift 3.2.0 in the words of 4.6.0."""

import shlex

import pytest

from curr_reft.errors import InputError
from curr_reft.sft.flags import arguments, parse_command_line, read_config, translate

RELEASED = shlex.split(
    """
    --model_type qwen2_5_vl --model /Stage3/checkpoint-2300 --dataset /reject/cat_all_formatted.jsonl
    --train_type full --torch_dtype bfloat16 --max_steps 2000 --max_length 8192 --num_train_epochs 3
    --per_device_train_batch_size 1 --per_device_eval_batch_size 1 --learning_rate 2e-7
    --gradient_accumulation_steps 4 --eval_steps 100 --save_steps 100 --freeze_vit False
    --save_only_model true --save_total_limit 25 --logging_steps 5 --output_dir /Reject_sft/out
    --warmup_ratio 0.05 --system 'You are a helpful assistant' --deepspeed zero3
    """
)


def given(*argv):
    return translate({}, parse_command_line(argv))


def test_the_released_command_keeps_its_meaning():
    flags, notes = given(*RELEASED)
    assert "train_type" not in flags
    assert flags["tuner_type"] == ["full"]
    assert flags["strict"] == ["true"]
    assert flags["add_version"] == ["false"]
    assert flags["template"] == ["qwen2_5_vl"]
    untouched = parse_command_line([part for part in RELEASED if part not in ("--train_type", "full")])
    assert {name: flags[name] for name in untouched} == untouched
    assert arguments(flags)[-4:] == ["--strict", "true", "--add_version", "false"]
    said = "\n".join(notes)
    for part in (
        "--train_type is --tuner_type",
        "--eval_steps does nothing",
        "--num_train_epochs does nothing",
        "the merger stays frozen",
        "'You are a helpful assistant.'",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("--train_type", "lora"), ("tuner_type", ["lora"])),
        (("--custom_register_path", "a.py", "b.py"), ("external_plugins", ["a.py", "b.py"])),
        (("--infer_backend", "pt"), ("infer_backend", ["transformers"])),
        (("--sampler_engine=pt",), ("sampler_engine", ["transformers"])),
    ],
)
def test_what_was_renamed_is_noted(old, new):
    flags, notes = given(*old)
    assert flags[new[0]] == new[1]
    assert any("in ms-swift 4.6.0" in note for note in notes)


def test_what_is_not_known_goes_through():
    flags, _ = given("--some-new_flag", "-1", "a b", "--switch", "--text=--strict false", "--empty=")
    assert flags["some_new_flag"] == ["-1", "a b"]
    assert flags["switch"] == []
    assert flags["text"] == ["--strict false"]
    assert flags["empty"] == [""]


@pytest.mark.parametrize(
    "argv", [("--strict", "false"), ("--strict=False",), ("--strict", "0"), ("--add_version", "true")]
)
def test_flags_that_would_make_another_run_are_refused(argv):
    with pytest.raises(InputError, match=r"always (true|false) here"):
        given(*argv)


def test_strict_stands_last_against_beginnings_of_its_name():
    flags, _ = given("--stri", "false", "--strict")
    assert arguments(flags)[-4:-2] == ["--strict", "true"]


def test_both_names_at_once_are_refused():
    with pytest.raises(InputError, match="--train_type: the old name of --tuner_type"):
        given("--train_type", "full", "--tuner_type", "lora")


def test_a_value_without_a_flag_is_refused():
    with pytest.raises(InputError, match="expected a flag"):
        parse_command_line(["configs/x.yaml"])


def test_the_command_line_beats_the_configuration_under_either_name(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "tuner_type: full\nfreeze_vit: false\ndeepspeed: zero3\nlearning_rate: 2.0e-7\nval_dataset: v.jsonl\n"
        "dataset: [a.jsonl, b.jsonl]\nmodel_kwargs: {a: 1}\nadapters: null\nENV: {MAX_PIXELS: 401408}\n"
    )
    config, environment = read_config(path)
    assert environment == {"MAX_PIXELS": "401408"}
    flags, _ = translate(
        config, parse_command_line(["--train_type", "lora", "--deepspeed", "none", "--val_dataset", "none"])
    )
    assert flags["tuner_type"] == ["lora"]
    assert flags["freeze_vit"] == ["false"]
    assert flags["learning_rate"] == ["2e-07"]
    assert flags["dataset"] == ["a.jsonl", "b.jsonl"]
    assert flags["model_kwargs"] == ['{"a": 1}']
    assert not {"deepspeed", "adapters", "val_dataset", "ENV"} & flags.keys()


@pytest.mark.parametrize("more", [("--split_dataset_ratio", "0.01"), ("--val_dataset", "v.jsonl")])
def test_eval_steps_work_with_rows_held_back(more):
    _, notes = given("--eval_steps", "100", *more)
    assert not any("--eval_steps" in note for note in notes)


def test_another_model_type_gets_no_template():
    assert "template" not in given("--model_type", "qwen2_vl")[0]
