"""LoRA by flags: which parts are adapted, what a starting adapter allows, faults before weights load."""

import json

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from curr_reft.errors import InputError
from curr_reft.models.adapters import adapter_model
from curr_reft.models.weights import skeleton
from curr_reft.stages import STAGES
from curr_reft.training.adapters import lora_config
from curr_reft.training.memory_plan import memory_of
from curr_reft.training.run import prepare, run_stage

KINDS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture
def no_weights(monkeypatch):
    """Fails the test when weights are read."""
    monkeypatch.setattr("curr_reft.training.checks.check_finite", lambda *_: pytest.fail("weights were read"))


@pytest.fixture
def planned(stage_flags, trainers):
    def plan(*flags, stage="judge"):
        return prepare(trainers[stage].stage, stage_flags(stage, "--dry_run", *flags))

    return plan


@pytest.fixture
def saved_adapter(tiny_base, tmp_path):
    """Writes an adapter of the tiny base."""

    def write(config=None, base=tiny_base, name="adapter"):
        model = AutoModelForImageTextToText.from_pretrained(base)
        config = config or LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
        get_peft_model(model, config).save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return write


def adapted(run, tiny_base) -> set[str]:
    model = adapter_model(skeleton(tiny_base, "--model"), lora_config(run.model), "--use_peft")
    return set(model.targeted_module_names)


def test_lora_alone_adapts_the_linear_layers_of_the_language_model(planned, tiny_base):
    run = planned("--use_peft", "true")
    names = adapted(run, tiny_base)
    layers = AutoConfig.from_pretrained(tiny_base).text_config.num_hidden_layers
    assert len(names) == layers * len(KINDS)
    assert {name.rpartition(".")[2] for name in names} == KINDS
    assert all("language_model" in name for name in names)
    settings = run.record["config"]
    assert (settings["lora_r"], settings["lora_alpha"], settings["lora_dropout"]) == (16, 32, 0.0)


@pytest.mark.parametrize(
    ("targets", "kinds", "vision"),
    [
        (("q_proj",), {"q_proj"}, False),
        (("q_proj", "gate_proj"), {"q_proj", "gate_proj"}, True),
        ((r".*\.layers\.0\.(self_attn\.[kv]|mlp\.up)_proj",), {"k_proj", "v_proj", "up_proj"}, False),
        (("down_proj", "self_attn.o_proj"), {"down_proj", "o_proj"}, True),
    ],
)
def test_parts_are_named_by_names_and_regular_expressions(targets, kinds, vision, planned, tiny_base):
    names = adapted(planned("--use_peft", "true", "--lora_target_modules", *targets), tiny_base)
    assert {name.rpartition(".")[2] for name in names} == kinds
    assert any("visual" in name for name in names) == vision
    frozen = planned("--use_peft", "true", "--lora_target_modules", *targets, "--freeze_vision", "true")
    assert adapted(frozen, tiny_base) == {name for name in names if "visual" not in name}


def test_a_name_of_a_frozen_tower_alone_is_one_line(planned, no_weights):
    flags = ("--use_peft", "true", "--lora_target_modules", "q_proj", "qkv")
    with pytest.raises(
        InputError, match="target module qkv: the model has no such part that is not left out"
    ):
        planned(*flags, "--freeze_vision", "true")


def test_all_linear_means_what_trl_means(planned, tiny_base):
    flags = ("--use_peft", "true", "--lora_target_modules", "all-linear")
    everything = adapted(planned(*flags), tiny_base)
    assert any("visual" in name for name in everything)
    assert not any("visual" in name for name in adapted(planned(*flags, "--freeze_vision", "1"), tiny_base))


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (("q_proj", "query"), "target module query: the model has no such part"),
        (("query",), "query"),
        (("q_proj", "proj_q", "lm_tail"), "target module lm_tail"),
        ((r".*\.cross_attn\..*",), "cross_attn"),
        (("(q_proj",), "unterminated subpattern"),
    ],
)
def test_parts_that_are_not_there_are_one_line(targets, said, planned, no_weights):
    with pytest.raises(InputError) as caught:
        planned("--use_peft", "true", "--lora_target_modules", *targets)
    assert str(caught.value).startswith("--lora_target_modules: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stage_goes_on_with_an_adapter_as_it_is(planned, saved_adapter, tiny_base, tmp_path):
    path = saved_adapter()
    run = planned("--model_name_or_path", path)
    settings = run.record["config"]
    assert settings["use_peft"] is True
    assert (settings["lora_r"], settings["lora_alpha"]) == (4, 8)
    assert settings["lora_target_modules"] == ["q_proj", "v_proj"]
    record = run.record["starting_adapter"]
    assert (record["path"], record["base"], record["merged"]) == (path, str(tiny_base), None)
    assert any(f"goes on with the adapter {path}" in note for note in run.plan.notes)
    assert not (tmp_path / "run").exists()
    fresh = planned("--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj")
    assert run.plan.memory == fresh.plan.memory


@pytest.mark.parametrize(
    "flags",
    [
        ("--use_peft", "true", "--lora_r", "4", "--lora_alpha", "8"),
        ("--lora_target_modules", "v_proj", "q_proj"),
        ("--lora_target_modules", r".*\.[qv]_proj"),
        ("--lora_dropout", "0.1", "--freeze_vision", "true"),
    ],
)
def test_flags_may_say_what_the_adapter_says(flags, planned, saved_adapter):
    planned("--model_name_or_path", saved_adapter(), *flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--lora_r", "8"), "--lora_r 8: the adapter "),
        (("--lora_alpha", "16"), "has 8"),
        (("--use_dora", "true"), "--use_dora True"),
        (("--lora_target_modules", "q_proj"), "has other parts, by 4, such as model.language_model"),
        (("--lora_target_modules", "nothing"), "--lora_target_modules: "),
        (("--lora_modules_to_save", "norm"), "--lora_modules_to_save"),
    ],
)
def test_flags_that_contradict_the_adapter_are_one_line(flags, said, planned, saved_adapter, no_weights):
    path = saved_adapter()
    with pytest.raises(InputError) as caught:
        planned("--model_name_or_path", path, *flags)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_frozen_tower_contradicts_an_adapter_of_it(planned, saved_adapter, no_weights):
    path = saved_adapter(LoraConfig(target_modules=["q_proj", "qkv"]))
    with pytest.raises(InputError, match=r"--freeze_vision true: .* adapts the vision tower"):
        planned("--model_name_or_path", path, "--freeze_vision", "true")


def test_after_merging_all_flags_are_free(planned, saved_adapter, tiny_base):
    path = saved_adapter()
    run = planned("--model_name_or_path", path, "--adapter", "merge", "--use_peft", "true", "--lora_r", "8")
    assert run.record["starting_adapter"]["merged"] == "merged_start"
    assert run.record["config"]["lora_r"] == 8
    assert len(adapted(run, tiny_base)) > 14
    run = planned("--model_name_or_path", path, "--adapter", "merge")
    assert run.model.use_peft is False


@pytest.mark.parametrize("way", ["continue", "merge"])
def test_an_adapter_over_another_base_is_one_line(
    way, planned, saved_adapter, tiny_base, shallow_base, tmp_path, no_weights
):
    path = saved_adapter(base=shallow_base)
    config = tmp_path / "adapter/adapter_config.json"
    text = config.read_text()
    for base, said in ((tiny_base, "ask for, such as"), ("/gone", "its base model /gone is not on this")):
        config.write_text(text.replace(str(shallow_base), str(base)))
        with pytest.raises(InputError, match=said) as caught:
            planned("--model_name_or_path", path, "--adapter", way)
        assert "\n" not in str(caught.value)


def test_other_kinds_of_adapters_are_merged_alone(planned, saved_adapter):
    path = saved_adapter(IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[]))
    with pytest.raises(InputError, match="with which a stage cannot go on; give --adapter merge"):
        planned("--model_name_or_path", path)
    planned("--model_name_or_path", path, "--adapter", "merge")


def test_a_run_does_not_go_on_over_another_starting_adapter(saved_adapter, stage_flags, trainers, tmp_path):
    flags = stage_flags("judge", "--model_name_or_path", saved_adapter())
    record = prepare(trainers["judge"].stage, flags).record
    (tmp_path / "run/checkpoint-2").mkdir(parents=True)
    manifest = json.dumps({**record, "status": "running"}, default=str)
    (tmp_path / "run/manifest.json").write_text(manifest)
    prepare(trainers["judge"].stage, flags)
    path = tmp_path / "adapter/adapter_model.safetensors"
    save_file({name: torch.ones_like(weight) for name, weight in load_file(path).items()}, path)
    with pytest.raises(InputError, match="had other settings: another adapter to start from"):
        prepare(trainers["judge"].stage, flags)


def test_weights_of_four_bits_are_planned_without_a_gpu(planned, trainers, stage_flags, tiny_base, capsys):
    flags = ("--use_peft", "true", "--torch_dtype", "bfloat16")
    run_stage(trainers["judge"], stage_flags("judge", "--dry_run", *flags, "--load_in_4bit", "true"))
    assert "note: --load_in_4bit and --load_in_8bit need a GPU" in capsys.readouterr().out
    with pytest.raises(InputError, match="need a GPU and 'uv pip install bitsandbytes'"):
        prepare(trainers["judge"].stage, stage_flags("judge", *flags, "--load_in_4bit", "true"))
    with pytest.raises(InputError, match="give --use_peft true"):
        planned("--load_in_4bit", "true")
    linear = sum(
        each.weight.numel()
        for name, each in skeleton(tiny_base, "--model").named_modules()
        if isinstance(each, torch.nn.Linear) and name != "lm_head"
    )
    plain, half_scales, four, eight = (
        memory_of(run.config, run.model, 1, 90, 9).weights
        for run in (
            planned(*flags),
            planned(*flags, "--load_in_4bit", "true", "--use_bnb_nested_quant", "true"),
            planned(*flags, "--load_in_4bit", "true"),
            planned(*flags, "--load_in_8bit", "true"),
        )
    )
    assert plain - four == pytest.approx(linear * (2 - 0.5 - 4 / 64), abs=1)
    assert plain - half_scales == pytest.approx(linear * (2 - 0.5 - 1 / 64), abs=1)
    assert plain - eight == linear


def test_a_frozen_tower_needs_less_memory(planned, tiny_base):
    whole, frozen = (planned(*flags).plan.memory for flags in ((), ("--freeze_vision", "true")))
    names = skeleton(tiny_base, "--model").named_parameters()
    tower = sum(each.numel() for name, each in names if ".visual." in name)
    assert whole.weights == frozen.weights
    assert whole.gradients - frozen.gradients == 4 * tower
    assert whole.optimizer - frozen.optimizer == 8 * tower
    assert frozen.activations < whole.activations


OVERLAYS = [(overlay, stage) for overlay in ("lora", "qlora") for stage in STAGES.values()]


@pytest.mark.parametrize(("overlay", "stage"), OVERLAYS, ids=lambda each: getattr(each, "name", each))
def test_configurations_go_on_top_of_each_stage(
    overlay, stage, root, stage_flags, saved_adapter, monkeypatch
):
    monkeypatch.chdir(root)
    folder = root / "configs/qwen2_5_vl_3b"
    configs = ("--config", str(folder / f"{stage.title}.yaml"), "--config", str(folder / f"{overlay}.yaml"))
    whole = [*configs, *stage_flags(stage.name, "--dry_run", "--report_to", "none")]
    run = prepare(stage, whole)
    assert run.model.use_peft
    assert run.model.load_in_4bit == (overlay == "qlora")
    assert run.config.deepspeed_file is None
    assert run.config.gradient_checkpointing
    assert any("bitsandbytes" in note for note in run.plan.notes) == (overlay == "qlora")
    # What the first stage makes, the next ones go on with under the same configuration.
    path = saved_adapter(lora_config(run.model))
    continued = prepare(stage, [*whole, "--model_name_or_path", path])
    assert continued.record["starting_adapter"]["path"] == path
    assert continued.plan.memory == run.plan.memory
