"""The plan's memory: real parameters, what torch saves, and what each flag does to it."""

import copy
import logging
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model
from PIL import Image
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLConfig

from curr_reft.data.prompts import render_prompt
from curr_reft.models.processor import load_processor
from curr_reft.training.adapters import lora_config, settled
from curr_reft.training.arguments import parse_arguments
from curr_reft.training.memory_parts import Sharing, Work, plan_memory, shape_of
from curr_reft.training.memory_plan import main, sharing_of, work_of
from curr_reft.training.model_arguments import ModelArguments
from curr_reft.training.plan import time_left
from shapes import PRESETS

PLAIN = Sharing(
    processes=1,
    deepspeed=False,
    zero=0,
    host_optimizer=False,
    host_weights=False,
    live_parameters=10**9,
    gathers=True,
    weight_bytes=4,
    trained_bytes=4,
    compute_bytes=4,
    autocast=False,
    reference=True,
    checkpointing=False,
)
HALF = replace(PLAIN, deepspeed=True, weight_bytes=2, trained_bytes=2, compute_bytes=2)
WORK = Work(tokens=596 + 4 * 256, patches=2052, predicted=4 * 256, cached=4 * (596 + 256))
LORA = settled(
    ModelArguments(use_peft=True, lora_target_modules=["q_proj", "v_proj"], lora_dropout=0.05), None
)
LORA_EVERYWHERE = settled(ModelArguments(use_peft=True, lora_target_modules=["all-linear"]), None)


def config_3b(**text):
    preset = PRESETS["3b"]
    vision = {**preset.vision, "out_hidden_size": text.get("hidden_size", 2048), "window_size": 112}
    tied = not text
    text = {**preset.text, **text, "tie_word_embeddings": tied}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


@pytest.fixture(scope="module")
def shape_3b():
    return shape_of(config_3b(), ModelArguments())


def test_parameters_are_those_of_the_tiny_base(tiny_base):
    shape = shape_of(AutoConfig.from_pretrained(tiny_base), ModelArguments())
    with safe_open(tiny_base / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert shape.parameters == shape.trained == stored
    assert shape.head == 510 * 128


def test_an_adapters_parameters_are_those_that_are_trained(tiny_base):
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(tiny_base), lora_config(LORA))
    shape = shape_of(AutoConfig.from_pretrained(tiny_base), LORA)
    assert (shape.trained, shape.parameters) == model.get_nb_trainable_parameters()
    assert shape.head == 0


def test_known_sizes(shape_3b):
    seven = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}
    seven |= {"num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064}
    assert shape_3b.parameters == 3_754_622_976
    shape_7b = shape_of(config_3b(**seven), ModelArguments())
    assert shape_7b.parameters == 8_292_166_656
    for shape, gigabytes in ((shape_3b, 82.6), (shape_7b, 182.4)):
        plan = plan_memory(shape, replace(HALF, zero=3), WORK)
        assert plan.held == 22 * shape.parameters
        assert plan.held / 1e9 == pytest.approx(gigabytes, abs=0.05)
    shared = plan_memory(shape_3b, replace(HALF, zero=3, processes=8), WORK)
    assert shared.held == pytest.approx(22 * shape_3b.parameters / 8)
    assert shared.gathered_for_rollouts == 2 * shape_3b.parameters
    assert shared.gathered_to_learn == 2 * 10**9


@pytest.mark.parametrize(
    ("way", "arguments"),
    [
        *((way, ModelArguments()) for way in ("float32", "bfloat16", "autocast")),
        ("bfloat16", LORA_EVERYWHERE),
        ("bfloat16", LORA),
    ],
    ids=["float32", "bfloat16", "autocast", "LoRA", "LoRA on two"],
)
@pytest.mark.parametrize(("rows", "words", "side"), [(4, 60, 84), (8, 100, 28), (4, 10, 280)])
def test_activations_are_what_torch_saves(way, arguments, rows, words, side, tiny_base):
    processor = load_processor(str(tiny_base))
    dtype = torch.bfloat16 if way == "bfloat16" else torch.float32
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=dtype).train()
    if arguments.use_peft:
        model = get_peft_model(model, lora_config(arguments)).get_base_model()
    inputs = processor(
        text=[render_prompt(processor, "red circle " * words)] * rows,
        images=[Image.new("RGB", (side, side))] * rows,
        return_tensors="pt",
    )
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            # The tensor is kept too, or another would take its place.
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=way == "autocast"),
    ):
        states = model.model(**inputs, use_cache=False).last_hidden_state
    measured = sum(size for size, _ in saved.values())
    assert states.requires_grad
    unit = 4 if way == "float32" else 2
    sharing = replace(PLAIN, compute_bytes=unit, weight_bytes=dtype.itemsize, autocast=way == "autocast")
    work = Work(inputs["input_ids"].numel(), len(inputs["pixel_values"]), predicted=0, cached=0)
    shape = shape_of(AutoConfig.from_pretrained(tiny_base), arguments)
    assert plan_memory(shape, sharing, work).activations == pytest.approx(measured, rel=0.15)


def test_dropout_of_an_adapter_keeps_what_it_dropped(tiny_base):
    config = AutoConfig.from_pretrained(tiny_base)
    plain, dropping = (
        plan_memory(shape_of(config, arguments), PLAIN, WORK).activations
        for arguments in (LORA_EVERYWHERE, replace(LORA_EVERYWHERE, lora_dropout=0.05))
    )
    assert dropping > plain


def test_zero_spreads_what_its_stage_spreads(shape_3b):
    plans = [plan_memory(shape_3b, replace(HALF, processes=8, zero=stage), WORK) for stage in (0, 1, 2, 3)]
    held = [plan.held for plan in plans]
    assert held == sorted(held, reverse=True)
    assert len(set(held)) == 4
    assert plans[2].weights == plans[0].weights == 8 * plans[3].weights
    offloaded = plan_memory(
        shape_3b, replace(HALF, processes=8, zero=3, host_weights=True, host_optimizer=True), WORK
    )
    assert offloaded.held == 0
    assert offloaded.host == plans[3].held
    assert offloaded.total < plans[3].total


def test_no_reference_no_gradients_of_frozen_weights_and_copies_under_autocast(shape_3b):
    plain = plan_memory(shape_3b, PLAIN, WORK)
    assert plain.held == shape_3b.parameters * (4 + 4 + 4 + 8)
    assert plan_memory(shape_3b, replace(PLAIN, reference=False), WORK).reference == 0
    assert plan_memory(shape_3b, replace(PLAIN, processes=2), WORK).gradients == 2 * plain.gradients
    frozen = plan_memory(replace(shape_3b, trained=10**7, head=0), PLAIN, WORK)
    assert (frozen.gradients, frozen.optimizer) == (4 * 10**7, 8 * 10**7)
    assert frozen.head < plain.head
    autocast = plan_memory(shape_3b, replace(PLAIN, autocast=True, compute_bytes=2), WORK)
    assert autocast.activations > 2 * shape_3b.parameters


@pytest.fixture(scope="module")
def total(tiny_base):
    """The bytes that a run on the tiny base needs, from lengths and other attributes of its configuration."""
    places = ("--dataset_name", "mix.yaml", "--image_root", "images", "--model_name_or_path", str(tiny_base))
    _, config, model = parse_arguments(places)
    shape = shape_of(AutoConfig.from_pretrained(tiny_base), model)

    def plan(prompt, completion, generations, prompts=1, **more):
        changed = copy.copy(config)
        changed.max_completion_length, changed.num_generations = completion, generations
        changed.prompts_per_device, changed.per_device_train_batch_size = prompts, prompts * generations
        for name, value in more.items():
            setattr(changed, name, value)
        work = work_of(changed, prompt, prompt // 2, shape.patches_per_token)
        return plan_memory(shape, sharing_of(changed, model, 1), work).total

    return plan


counts = st.integers(1, 4000)


@given(counts, counts, st.integers(2, 16), st.integers(1, 4), st.booleans(), st.booleans())
def test_more_to_compute_takes_no_less(total, prompt, completion, generations, prompts, shared, recomputed):
    more = {"prompts": prompts, "shared_prefix": shared, "gradient_checkpointing": recomputed}
    least = total(prompt, completion, generations, **more)
    assert least <= total(prompt + 1, completion, generations, **more)
    assert least <= total(prompt, completion + 1, generations, **more)
    assert least <= total(prompt, completion, generations + 1, **more)
    assert least <= total(prompt, completion, generations, **{**more, "prompts": prompts + 1})
    assert least <= total(prompt, completion, generations, **{**more, "shared_prefix": False})
    assert least <= total(prompt, completion, generations, **{**more, "gradient_checkpointing": False})


def test_packed_tokens_bound_a_shared_prefix(total):
    free = total(500, 250, 8, prompts=4)
    assert total(500, 250, 8, prompts=4, max_packed_tokens=20_000) == free
    bound = [total(500, 250, 8, prompts=4, max_packed_tokens=limit) for limit in (800, 2000, 8000)]
    assert bound == sorted(bound)
    assert bound[-1] < free


def test_the_command_prints_the_plan(tiny_base, root, caplog):
    caplog.set_level(logging.INFO)
    flags = ("--config", str(root / "configs/tiny/stage1_judge.yaml"), "--processes", "2")
    main([*flags, "--prompt_tokens", "100", "--image_tokens", "9"])
    shown = dict(
        message.split(": ", 1) for message in caplog.messages if "memory" in message or " = " in message
    )
    assert shown["memory per device, estimated"].endswith(" GiB at the longest prompts")
    assert float(shown["memory per device, estimated"].split()[0]) > 0
    assert "weights 0.007 + reference 0.007 + gradients 0.014" in shown["  held all the time"]


def test_vllms_part_of_the_device_counts_where_the_device_is_known(tiny_base, root, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    flags = [
        "--config",
        str(root / "configs/tiny/stage1_judge.yaml"),
        "--prompt_tokens",
        "9",
        "--image_tokens",
        "1",
    ]
    colocate = [
        *flags,
        "--config",
        str(root / "configs/qwen2_5_vl_3b/vllm_colocate.yaml"),
        "--max_prompt_length",
        "64",
    ]

    def shown(gpu_gib: int, argv: list[str]) -> dict[str, str]:
        device = SimpleNamespace(total_memory=gpu_gib * 2**30)
        cuda = SimpleNamespace(is_available=lambda: gpu_gib > 0, get_device_properties=lambda number: device)
        # Of this module alone: others would start the GPU.
        monkeypatch.setattr("curr_reft.training.memory_plan.torch", SimpleNamespace(cuda=cuda))
        caplog.clear()
        main(argv)
        return dict(message.split(": ", 1) for message in caplog.messages)

    unknown, known, beside_none = shown(0, colocate), shown(80, colocate), shown(80, flags)
    total = "memory per device, estimated"
    assert unknown[total].endswith("; beside it vLLM's 0.3 of the device")
    assert known["  and vLLM's own"] == "24.0 GiB = 0.3 of the device's 80.0"
    assert 24 < float(known[total].split()[0]) < 25
    assert known[total].endswith(" GiB at the longest prompts")
    for plan in (unknown, beside_none):
        assert float(plan[total].split()[0]) < 1
        assert "  and vLLM's own" not in plan


NO_SUCH = ("--use_peft", "--lora_target_modules", "q_proj", "nothing_like_it")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--prompt_tokens", "9"), "--image_tokens"),
        (("--prompt_tokens", "9", "--image_tokens", "10"), "--image_tokens are a part of --prompt_tokens"),
        (
            ("--prompt_tokens", "9", "--image_tokens", "1", "--processes", "0"),
            "--processes must be at least 1",
        ),
        (("--prompt_tokens", "9", "--image_tokens", "1", "--model_name_or_path", "./no"), "no configuration"),
        (("--prompt_tokens", "9", "--image_tokens", "1", *NO_SUCH), "nothing_like_it: the model has no"),
    ],
)
def test_bad_flags_are_one_line(flags, message, root, refused):
    error = refused(lambda: main(["--config", str(root / "configs/tiny/stage1_judge.yaml"), *flags]))
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_time_left_is_the_median_step_for_the_steps_that_are_left():
    log = [{"step_time": seconds} for seconds in (900.0, 60.0, 61.0)] + [{"eval_reward": 1.0}]
    assert time_left({"global_step": 100, "log_history": log}, 160) == timedelta(hours=1, minutes=1)
    assert time_left({"global_step": 170, "log_history": log}, 160) == timedelta(0)
    assert time_left({"global_step": 100, "log_history": log[3:]}, 160) is None
