"""Checkpoints in the published form at tiny dimensions, and the way from them to a scored adapter."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

import full_size
import shapes
from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.models.processor import load_processor
from curr_reft.models.weights import check_finite, skeleton
from curr_reft.training.run import run_stage


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full_size") / "tiny"
    full_size.main(["--size", "tiny", "--output", str(folder)])
    return folder


def contents(folder, name):
    return json.loads((folder / name).read_text())


def weights(folder):
    """The stored weights by name, each with the name of its shard."""
    found = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            found |= {name: (file.get_tensor(name), shard.name) for name in file.keys()}  # noqa: SIM118
    return found


def test_weights_have_published_names_in_shards_with_an_index(checkpoint):
    stored, index = weights(checkpoint), contents(checkpoint, "model.safetensors.index.json")
    assert {name: shard for name, (_, shard) in stored.items()} == index["weight_map"]
    assert sorted({shard for _, shard in stored.values()}) == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert {name.split(".")[0] for name in stored} == {"visual", "model"}
    assert {
        "model.embed_tokens.weight",
        "model.layers.1.self_attn.q_proj.bias",
        "model.norm.weight",
        "visual.patch_embed.proj.weight",
        "visual.blocks.1.attn.qkv.bias",
        "visual.blocks.1.mlp.gate_proj.weight",
        "visual.merger.ln_q.weight",
        "visual.merger.mlp.2.bias",
    } <= stored.keys()
    assert {weight.dtype for weight, _ in stored.values()} == {torch.bfloat16}
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight, _ in stored.values())
    assert bool((stored["model.layers.0.input_layernorm.weight"][0] == 1).all())
    deviation = float(stored["model.embed_tokens.weight"][0].float().std())
    assert deviation == pytest.approx(0.02, rel=0.05)


def test_they_are_all_that_the_model_asks_for(checkpoint):
    model = skeleton(checkpoint, "--model")
    assert model.config.text_config.vocab_size == 151936
    check_finite(checkpoint, "--model")


def test_a_head_of_its_own_is_written_where_the_configuration_has_one(tmp_path, monkeypatch):
    config = {**full_size.CONFIGS["tiny"], "tie_word_embeddings": False}
    monkeypatch.setitem(full_size.CONFIGS, "tiny", config)
    full_size.main(["--size", "tiny", "--output", str(tmp_path / "untied")])
    stored = weights(tmp_path / "untied")
    assert not torch.equal(stored["lm_head.weight"][0], stored["model.embed_tokens.weight"][0])
    skeleton(tmp_path / "untied", "--model")


def test_the_seed_decides_the_weights(checkpoint, tmp_path):
    for seed in ("0", "1"):
        full_size.main(["--size", "tiny", "--output", str(tmp_path / seed), "--seed", seed])
    first, again, other = (
        [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))]
        for folder in (checkpoint, tmp_path / "0", tmp_path / "1")
    )
    assert first == again
    assert all(ours != theirs for ours, theirs in zip(first, other, strict=True))


def test_special_tokens_have_their_published_ids(checkpoint, tiny_base):
    processor, small = load_processor(str(checkpoint)), load_processor(str(tiny_base))
    config = contents(checkpoint, "config.json")
    assert processor.image_token_id == config["image_token_id"] == 151655
    tokens = (
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|video_pad|>",
    )
    ids = [151643, 151644, 151645, 151652, 151653, 151656]
    assert processor.tokenizer.convert_tokens_to_ids(list(tokens)) == ids
    size = processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (3136, 12845056)
    text = "<think>Where is the red circle at [3, 4]?\n</think>"
    plain = processor.tokenizer(text).input_ids
    assert plain == small.tokenizer(text).input_ids
    assert processor.tokenizer.decode(plain) == text
    assert max(processor.tokenizer.get_vocab().values()) < config["vocab_size"]


def test_a_tokenizer_that_is_given_is_taken(checkpoint, tmp_path):
    flags = ["--size", "tiny", "--output", str(tmp_path / "out"), "--tokenizer", str(checkpoint)]
    full_size.main(flags)
    vocabularies = [
        load_processor(str(folder)).tokenizer.get_vocab() for folder in (checkpoint, tmp_path / "out")
    ]
    assert vocabularies[0] == vocabularies[1]


@pytest.mark.parametrize(
    ("size", "parameters"), [("3b", 3_754_622_976), ("7b", 8_292_166_656)], ids=["3b", "7b"]
)
def test_dimensions_are_the_published_ones(size, parameters):
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(Qwen2_5_VLConfig(**full_size.CONFIGS[size]))
    assert sum(each.numel() for each in model.parameters()) == parameters


def test_the_step_benchmark_has_the_same_3b():
    preset, config = shapes.PRESETS["3b"], full_size.CONFIGS["3b"]
    text = {**preset.text, **preset.text["rope_parameters"]}
    assert {name: config[name] for name in preset.text if name in config}.items() <= text.items()
    assert text["mrope_section"] == config["rope_scaling"]["mrope_section"]
    assert preset.vision.items() <= config["vision_config"].items()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--size", "4b"), "--size"),
        (("--output", "taken"), "there is something"),
        (("--tokenizer", "nowhere"), "nowhere/tokenizer.json: cannot be read"),
        (("--tokenizer", "broken"), "broken/tokenizer.json: cannot be read"),
        (("--tokenizer", "small"), "<|vision_start|> is 505, and vision_start_token_id is 151652"),
    ],
)
def test_bad_input_ends_in_one_line(flags, message, tiny_base, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, text in (("taken", "{}"), ("broken", "{"), ("small", None)):
        (tmp_path / folder).mkdir()
        text = (tiny_base / "tokenizer.json").read_text() if text is None else text
        (tmp_path / folder / "tokenizer.json").write_text(text)
    with pytest.raises(SystemExit) as stop:
        full_size.main(["--size", "tiny", "--output", "out", *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def photographs(tmp_path):
    """Images of the size of photographs, and open rows about them."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = []
    for number in range(4):
        coarse = Image.fromarray(random.integers(0, 256, (10, 16, 3), dtype=np.uint8))
        coarse.resize((640, 400), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
        solution = f"<answer>{json.dumps({'bbox_2d': [40, 30, 320, 200]})}</answer>"
        problem = f"Please give the bounding box of thing {number}."
        rows.append({"problem": problem, "solution": solution, "task": "detection", "image": f"{number}.jpg"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mixture.yaml").write_text("train_datasets:\n  - json_path: rows.jsonl\nval_datasets: []\n")
    suite = "{task: detection, domain: in, json_path: rows.jsonl, scoring: detection_in}"
    (folder / "suites.yaml").write_text(f"suites:\n  photographs: {suite}\n")
    return folder


@pytest.mark.slow
def test_from_the_published_form_to_a_scored_adapter(checkpoint, photographs, tmp_path, trainers, capsys):
    reward = tmp_path / "rewards.py"
    reward.write_text(
        "def token_sum(completion_ids, **_):\n    return [sum(ids) % 101 for ids in completion_ids]\n"
    )
    flags = [
        *("--model_name_or_path", str(checkpoint), "--output_dir", str(tmp_path / "run")),
        *("--dataset_name", str(photographs / "mixture.yaml"), "--image_root", str(photographs)),
        *("--held_out_suites", "none", "--report_to", "none", "--use_cpu", "true", "--bf16", "false"),
        *("--torch_dtype", "bfloat16", "--use_peft", "true", "--lora_target_modules", "all-linear"),
        *("--num_generations", "2", "--max_completion_length", "8", "--max_steps", "1"),
        *("--reward_funcs", "accuracy", "format", f"{reward}:token_sum"),
    ]
    run_stage(trainers["open"], [*flags, "--dry_run"])
    assert "322 to 322" in capsys.readouterr().out
    run_stage(trainers["open"], flags)
    (entry,) = [
        each
        for each in contents(tmp_path / "run", "trainer_state.json")["log_history"]
        if "grad_norm" in each
    ]
    assert entry["grad_norm"] > 0
    evaluate(
        [
            *("--model", str(tmp_path / "run"), "--final_only", "--output_dir", str(tmp_path / "scores")),
            *("--suites_config", str(photographs / "suites.yaml"), "--data_root", str(photographs)),
            *("--max_new_tokens", "8"),
        ]
    )
    assert contents(tmp_path / "scores", "scores.json")["scores"]["photographs"]["n"] == 4
