"""Flags, YAML and defaults: precedence, unknown keys, and what each flag does."""

import inspect
import json
import re
from typing import get_args

import pytest
from trl import GRPOTrainer

from curr_reft.errors import InputError
from curr_reft.training.arguments import CurriculumConfig, parse_arguments

REQUIRED = ("--dataset_name", "mix.yaml", "--image_root", "images", "--model_name_or_path", "model")


def parse(*flags):
    return parse_arguments([*REQUIRED, *flags])


def test_defaults_are_the_released_objective():
    _, config, model = parse()
    released = {
        "loss_type": "grpo",
        "beta": 0.04,
        "use_bias_correction_kl": False,
        "scale_rewards": "group",
        "num_iterations": 1,
        "temperature": 1.0,
        "top_k": 50,
        "max_completion_length": 256,
        "num_generations": 4,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "seed": 42,
        "data_seed": 42,
    }
    assert {name: getattr(config, name) for name in released} == released
    assert model.dtype == "float32"


def test_batch_size_counts_prompts():
    _, config, _ = parse("--per_device_train_batch_size", "3", "--num_generations", "5")
    assert config.prompts_per_device == 3
    assert config.per_device_train_batch_size == 15
    assert config.generation_batch_size == 15


def test_flags_beat_yaml_beats_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("num_generations: 6\nlearning_rate: 2e-5\ntorch_dtype: bfloat16\nbf16: true\n")
    data, config, model = parse("--config", str(path), "--num_generations", "2")
    assert (config.num_generations, config.learning_rate, config.beta) == (2, 2e-5, 0.04)
    assert (model.dtype, config.bf16) == ("bfloat16", True)
    assert data.reward_funcs == ["accuracy", "format"]


@pytest.mark.parametrize(
    ("flags", "read", "expected"),
    [
        (("--max_prompt_length", "99"), lambda data, config, model: data.max_prompt_length, 99),
        (("--reward_funcs", "format"), lambda data, config, model: data.reward_funcs, ["format"]),
        (("--reward_variant", "released"), lambda data, config, model: data.reward_variant, "released"),
        (("--max_pixels", "401408"), lambda data, config, model: data.max_pixels, 401408),
        (("--min_pixels", "3136"), lambda data, config, model: data.min_pixels, 3136),
        (("--torch_dtype", "bfloat16"), lambda data, config, model: model.dtype, "bfloat16"),
        (("--dtype", "bfloat16"), lambda data, config, model: model.dtype, "bfloat16"),
        (("--attn_implementation", "sdpa"), lambda data, config, model: model.attn_implementation, "sdpa"),
        (
            ("--gradient_checkpointing", "true"),
            lambda data, config, model: config.gradient_checkpointing,
            True,
        ),
        (("--bf16",), lambda data, config, model: config.bf16, True),
        (("--data_seed", "7"), lambda data, config, model: config.data_seed, 7),
        (("--report_to", "wandb"), lambda data, config, model: config.report_to, ["wandb"]),
        (("--num_train_epochs", "2"), lambda data, config, model: config.num_train_epochs, 2),
        (("--run_name", "x"), lambda data, config, model: config.run_name, "x"),
        (("--save_steps", "7"), lambda data, config, model: config.save_steps, 7),
        (("--save_only_model", "true"), lambda data, config, model: config.save_only_model, True),
        (("--logging_steps", "3"), lambda data, config, model: config.logging_steps, 3),
    ],
)
def test_each_flag_changes_its_setting(flags, read, expected):
    assert read(*parse()) != expected
    assert read(*parse(*flags)) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num_generation", "4"), "did you mean 'num_generations'"),
        (("--num_generations", "1"), "--num_generations 1"),
        (("--num_generations", "four"), "--num_generations"),
        (("--per_device_train_batch_size", "0"), "must be at least 1"),
        (("--generation_batch_size", "6"), "generation_batch_size"),
        (("--box_frame", "stored"), "box_frame"),
        (("--deepspeed", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("--report_to", "wnadb"), "--report_to wnadb: use one of"),
        (("--loss_type", "gpro"), "--loss-type: invalid choice: 'gpro' (choose from 'grpo', 'dapo', "),
        (("--scale_rewards", "grp"), "--scale-rewards: invalid choice"),
        (("--importance_sampling_level", "tokens"), "--importance-sampling-level: invalid choice"),
        (("--multi_objective_aggregation", "sum"), "--multi-objective-aggregation: invalid choice"),
    ],
)
def test_bad_flags_are_one_line(flags, message):
    with pytest.raises(InputError) as caught:
        parse(*flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_loss_types_are_those_that_trl_computes():
    computed = set()
    for line in inspect.getsource(GRPOTrainer._compute_loss).splitlines():
        if match := re.search(r"if self\.loss_type (?:==|in) (.*):$", line):
            computed |= set(re.findall(r'"(\w+)"', match[1]))
    assert set(get_args(CurriculumConfig.__dataclass_fields__["loss_type"].type)) == computed


def test_files_that_configurations_name_are_found_in_the_repository(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ("--deepspeed", "configs/deepspeed/zero2.json", "--bf16", "false", "--dry_run")
    data, config, model = parse_arguments(
        ["--config", "configs/tiny/stage1_judge.yaml", "--image_root", "images", *flags]
    )
    assert data.dataset_name == str(root / "configs/data/stage1_judge/shapes.yaml")
    assert data.held_out_suites == str(root / "configs/eval/shapes.yaml")
    assert model.model_name_or_path == str(root / "train_code/curr_reft/data/shapes/tiny/base")
    assert config.num_generations == 8
    mixture = tmp_path / "configs/data/stage1_judge/shapes.yaml"
    mixture.parent.mkdir(parents=True)
    mixture.write_text("")
    assert parse("--dataset_name", "configs/data/stage1_judge/shapes.yaml")[0].dataset_name == (
        "configs/data/stage1_judge/shapes.yaml"
    )
    assert parse("--held_out_suites", "none")[0].held_out_suites == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_generation: 4\n", "unknown key 'num_generation' (did you mean 'num_generations'?)"),
        ("- a\n- b\n", "must be a mapping"),
        ("a: [unclosed\n", "broken YAML"),
        ("seed: 1\nseed: 2\n", "key 'seed' twice"),
        ("help: true\n", "unknown key 'help'"),
        ("num_generations: 4.5\n", "num_generations"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        parse("--config", str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_required_flag_is_named():
    with pytest.raises(InputError, match="dataset_name"):
        parse_arguments(["--image_root", "images", "--model_name_or_path", "model"])
    with pytest.raises(InputError, match="--model_name_or_path"):
        parse_arguments(["--image_root", "images", "--dataset_name", "mix.yaml"])


def test_gpu_flags_are_noted_in_a_dry_run_on_a_cpu(root):
    zero3 = str(root / "configs/deepspeed/zero3.json")
    _, config, _ = parse("--dry_run", "--bf16", "--deepspeed", zero3)
    assert any("--bf16 false" in note for note in config.machine_notes)
    with pytest.raises(InputError, match="--bf16 false"):
        parse("--bf16", "--deepspeed", zero3)


def test_deepspeed_file_must_be_json(tmp_path):
    path = tmp_path / "zero.json"
    for text, message in (("{not json", "broken JSON"), ("[]", "expected a JSON object")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            parse("--deepspeed", str(path))


def test_deepspeed_of_a_yaml_can_be_switched_off(root, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"deepspeed: {root / 'configs/deepspeed/zero3.json'}\n")
    assert parse("--config", str(path), "--deepspeed", "none")[1].deepspeed is None


@pytest.mark.parametrize("name", ["zero2", "zero3", "zero3_offload"])
def test_shipped_deepspeed_files_name_their_stage(root, name):
    settings = json.loads((root / f"configs/deepspeed/{name}.json").read_text())
    assert settings["zero_optimization"]["stage"] == int(name[4])
    assert ("offload_optimizer" in settings["zero_optimization"]) == name.endswith("offload")
