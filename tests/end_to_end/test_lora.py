"""A curriculum with LoRA on the tiny model: each stage goes on with the former's adapter, over one base."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from trl.trainer.utils import use_adapter

from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.evaluation.pass_at_k.command import main as pass_at_k
from curr_reft.models.merge import merge
from curr_reft.training.run import build_trainer, prepare, run_stage

pytestmark = pytest.mark.slow
WEIGHTS = "adapter_model.safetensors"
MIXTURES = {"judge": "stage1_judge", "choice": "stage2_multi_choice", "open": "others"}


@pytest.fixture(scope="module")
def flags(root, world):
    """Flags of a stage of a few steps at a rate at which three of them move all that may move."""

    def make(stage: str, start: Path, out: Path, *more: str) -> list[str]:
        return [
            *("--model_name_or_path", str(start), "--output_dir", str(out), "--image_root", str(world)),
            *("--dataset_name", str(root / f"configs/data/{MIXTURES[stage]}/shapes.yaml")),
            *("--max_completion_length", "24", "--per_device_train_batch_size", "2", "--max_steps", "4"),
            *("--save_steps", "2", "--learning_rate", "1e-3", "--held_out_suites", "none", *more),
        ]

    return make


@pytest.fixture(scope="module")
def chain(flags, trainers, tiny_base, tmp_path_factory) -> dict[str, Path]:
    """The stages' folders; the first makes an adapter, the others go on with it."""
    folder = tmp_path_factory.mktemp("chain")
    start, more = tiny_base, ("--use_peft", "true", "--lora_r", "8")
    for stage in MIXTURES:
        run_stage(trainers[stage], flags(stage, start, folder / stage, *more))
        start, more = folder / stage, ()
    return {stage: folder / stage for stage in MIXTURES}


def kl_of(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["kl"] for entry in history if "kl" in entry]


def test_each_stage_moves_the_adapter_alone_from_where_the_former_left_it(chain, tiny_base):
    before = None
    for stage, folder in chain.items():
        adapter = load_file(folder / WEIGHTS)
        assert all("language_model.layers" in name and ".lora_" in name for name in adapter)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["r"], config["base_model_name_or_path"]) == (8, str(tiny_base))
        assert not list(folder.glob("**/ref")), "the reference is no part of a checkpoint"
        assert not list(folder.glob("model*.safetensors"))
        if before is not None:
            assert adapter.keys() == before.keys()
            moved = [name for name in adapter if not torch.equal(adapter[name], before[name])]
            assert len(moved) == len(adapter)
            # A few steps of Adam at 1e-3 go no further: this is no adapter begun anew.
            assert max(float((adapter[name] - before[name]).abs().max()) for name in adapter) < 5e-3
            record = json.loads((folder / "manifest.json").read_text())["starting_adapter"]
            assert Path(record["path"]).name in ("judge", "choice")
        before = adapter
        # The reference is what the stage started from: at first the policy is no way from it.
        kl = kl_of(folder)
        assert kl[0] == 0
        assert 0 < max(kl) < 0.1, stage


def test_the_merged_model_differs_in_adapted_weights_alone_and_answers_alike(
    chain, tiny_base, world, root, tmp_path
):
    merge(chain["open"], tmp_path / "merged")
    base, merged = (load_file(path / "model.safetensors") for path in (tiny_base, tmp_path / "merged"))
    moved = {name for name in base if not torch.equal(base[name].float(), merged[name])}
    assert moved == {name for name in base if "visual" not in name and "_proj.weight" in name}
    rows = {}
    for name, model in (("adapter", chain["open"]), ("merged", tmp_path / "merged")):
        evaluate(
            [
                *(
                    "--model",
                    str(model),
                    "--final_only",
                    "--data_root",
                    str(world),
                    "--suites",
                    "detection_in",
                    "math_out",
                ),
                *("--suites_config", str(root / "configs/eval/shapes.yaml")),
                *("--output_dir", str(tmp_path / name), "--max_new_tokens", "48"),
            ]
        )
        files = sorted((tmp_path / name).glob("*.jsonl"))
        rows[name] = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert rows["adapter"]
    outputs = {name: [(row["id"], row["model_output"]) for row in found] for name, found in rows.items()}
    assert outputs["adapter"] == outputs["merged"]


def test_pass_at_k_asks_an_adapter(chain, world, tmp_path):
    pass_at_k(
        [
            *("--model", str(chain["judge"]), "--output_dir", str(tmp_path), "--max_new_tokens", "24"),
            *("--input_file", str(world / "test/judge_math_test.jsonl"), "--image_root", str(world)),
            *("--task_type", "judge", "--k_values", "1,2"),
        ]
    )
    assert (tmp_path / "judge_samples.jsonl").read_text()


@torch.inference_mode()
def log_probs(model, inputs):
    return model.eval()(**inputs).logits.log_softmax(dim=-1)


def test_the_reference_stays_what_the_stage_started_from_also_after_a_resume(
    chain, flags, trainers, tiny_base, tmp_path
):
    """A continued stage, killed after its first checkpoint, ends as one that was not."""
    out = tmp_path / "choice"
    shutil.copytree(chain["choice"], out)
    shutil.rmtree(out / "checkpoint-4")
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    run = prepare(trainers["choice"].stage, flags("choice", chain["judge"], out))
    assert run.resume_from == str(out / "checkpoint-2")
    trainer = build_trainer(run, trainers["choice"])
    trainer.train(resume_from_checkpoint=run.resume_from)
    trainer.save_model()
    assert (out / WEIGHTS).read_bytes() == (chain["choice"] / WEIGHTS).read_bytes()

    row = run.plan.train.dataset[0]
    text = run.processor.apply_chat_template(
        [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": row["prompt"][0]["content"]}],
            }
        ],
        add_generation_prompt=True,
    )
    inputs = run.processor(text=[text], images=[row["image"]], return_tensors="pt")
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    started = log_probs(PeftModel.from_pretrained(base, chain["judge"]), inputs)
    with use_adapter(trainer.model, "ref"):
        torch.testing.assert_close(log_probs(trainer.model, inputs), started, rtol=0, atol=1e-4)
    assert (log_probs(trainer.model, inputs) - started).abs().max() > 1e-2


def test_dropout_drops_nothing_of_the_reference_and_beta_0_needs_none(chain, flags, trainers, tmp_path):
    def trainer(*more):
        run = prepare(trainers["open"].stage, flags("open", chain["judge"], tmp_path / "run", *more))
        return build_trainer(run, trainers["open"])

    model = trainer("--lora_dropout", "0.5").model.train()
    tokens = torch.arange(40)[None]
    with use_adapter(model, "ref"), torch.no_grad():
        first, second = (model(input_ids=tokens).logits for _ in range(2))
    assert torch.equal(first, second)
    with torch.no_grad():
        first, second = (model(input_ids=tokens).logits for _ in range(2))
    assert not torch.equal(first, second)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all(".default." in name for name in trained)
    assert list(trainer("--beta", "0").model.peft_config) == ["default"]


@pytest.mark.parametrize("more", [("--use_peft", "true"), ()], ids=["a new adapter", "all weights"])
def test_a_merged_start_is_kept_and_gone_on_with(more, chain, flags, trainers, tmp_path):
    out = tmp_path / "run"
    start = flags("open", chain["choice"], out, "--adapter", "merge", *more)
    run_stage(trainers["open"], start)
    merged = load_file(out / "merged_start/model.safetensors")
    merge(chain["choice"], tmp_path / "by_hand")
    by_hand = load_file(tmp_path / "by_hand/model.safetensors")
    assert all(torch.equal(merged[name], by_hand[name]) for name in by_hand)
    assert kl_of(out)[0] == 0
    weights = next(out.glob("*model.safetensors"))
    if more:
        config = json.loads((out / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(out / "merged_start")
    unbroken = weights.read_bytes()
    shutil.rmtree(out / "checkpoint-4")
    weights.unlink()
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    run_stage(trainers["open"], start)
    assert weights.read_bytes() == unbroken


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_a_frozen_vision_tower_stays_bit_for_bit(checkpointing, flags, trainers, tiny_base, tmp_path):
    more = ("--freeze_vision", "true", "--learning_rate", "1e-4", "--gradient_checkpointing", checkpointing)
    run_stage(trainers["choice"], flags("choice", tiny_base, tmp_path / "run", *more))
    assert json.loads((tmp_path / "run/manifest.json").read_text())["config"]["freeze_vision"] is True
    before, after = (load_file(path / "model.safetensors") for path in (tiny_base, tmp_path / "run"))
    for name in before:
        assert torch.equal(before[name].float(), after[name].float()) == name.startswith("visual."), name
