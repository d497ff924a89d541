"""Seconds and bytes of policy passes and whole steps, by TRL's trainer and by ours in turns."""

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import ProcessorMixin, set_seed
from trl import GRPOConfig, GRPOTrainer

from curr_reft.models.vision_tower import quicken
from curr_reft.training.shared_prefix import SharedPrefixTrainer
from meters import Meter
from shapes import Preset, Shape, make_row, save_checkpoint

logger = logging.getLogger(__name__)

TRAINERS = {"TRL": GRPOTrainer, "ours": SharedPrefixTrainer}
PARTS = {
    "ours, TRL's rollouts": "shares_rollouts",
    "ours, TRL's passes": "shares_prefix",
    "ours, an image each": "shares_images",
    "ours, TRL's vision tower": None,
}
"""Variants of ours, each with one part of it off, and the trainer's switch of that part."""


@dataclass
class Measurements:
    """By who did it, each as often as it was measured."""

    passes: dict[Shape, dict[str, list[Meter]]] = field(default_factory=dict)
    flops: dict[Shape, dict[str, int]] = field(default_factory=dict)
    """Operations of a policy pass."""
    steps: dict[str, list[Meter]] = field(default_factory=lambda: defaultdict(list))
    step_flops: int = 0
    """Operations of a step of ours."""
    max_logp_diff: float = 0.0


def measure(preset: Preset, options: argparse.Namespace, folder: Path) -> Measurements:
    """Measure a preset; `folder` takes the checkpoint.

    Args:
        options: `repeats`, `seed`, `attn_implementation` and `gradient_checkpointing`.
    """
    processor = save_checkpoint(preset, folder)
    trainers = {
        name: _make_trainer(kind, folder, preset, processor, options) for name, kind in TRAINERS.items()
    }
    row = make_row(processor)
    found = Measurements()
    for trainer in trainers.values():
        _measured_pass(trainer, _policy_inputs(trainer, row, (2, 8)))
    for shape in preset.shapes:
        inputs = {name: _policy_inputs(trainer, row, shape) for name, trainer in trainers.items()}
        theirs, ours = (_log_probs(trainers[name], inputs[name]) for name in TRAINERS)
        found.max_logp_diff = max(found.max_logp_diff, float((theirs - ours).abs().max()))
        found.flops[shape] = {}
        for name, trainer in trainers.items():
            with _counting() as counter:
                _measured_pass(trainer, inputs[name])
            found.flops[shape][name] = counter.get_total_flops()
        meters: dict[str, list[Meter]] = defaultdict(list)
        for _ in range(options.repeats):
            for name, trainer in trainers.items():
                meter = _measured_pass(trainer, inputs[name])
                meters[name].append(meter)
                seconds = meter.seconds["policy"]
                logger.info("policy pass, %d completions of %d tokens, %s: %.2f s", *shape, name, seconds)
        found.passes[shape] = meters
    with _counting() as counter:
        _step(trainers["ours"], row, Meter())
    found.step_flops = counter.get_total_flops()
    for repeat in range(options.repeats):
        for name in [*TRAINERS, *PARTS]:
            set_seed(options.seed + repeat)
            meter = Meter()
            with _variant(trainers, name) as trainer, meter("step"):
                _step(trainer, row, meter)
            found.steps[name].append(meter)
            logger.info("step, %s: %.2f s", name, meter.seconds["step"])
    return found


def _make_trainer(
    kind: type[GRPOTrainer],
    checkpoint: Path,
    preset: Preset,
    processor: ProcessorMixin,
    options: argparse.Namespace,
) -> GRPOTrainer:
    group, length = preset.shapes[0]
    args = GRPOConfig(
        output_dir=str(checkpoint / "run"),
        model_init_kwargs={"dtype": preset.dtype, "attn_implementation": options.attn_implementation},
        per_device_train_batch_size=group,
        num_generations=group,
        max_completion_length=length,
        temperature=1.0,
        top_k=50,
        beta=0.04,
        loss_type="grpo",
        # All have the same weights throughout, and so sample the same.
        learning_rate=0.0,
        bf16=False,
        gradient_checkpointing=options.gradient_checkpointing,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
    )
    unused = Dataset.from_list([{"prompt": [{"role": "user", "content": ""}]}])
    trainer = kind(
        model=str(checkpoint),
        args=args,
        reward_funcs=_reward,
        train_dataset=unused,
        processing_class=processor,
    )
    # Random weights end an answer at random.
    trainer.generation_config.min_new_tokens = length
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def _reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Anything that differs within a group."""
    return [float(sum(ids) % 11) for ids in completion_ids]


def _policy_inputs(trainer: GRPOTrainer, row: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """What TRL's loss reads, for completions of random tokens."""
    group, length = shape
    text = {"type": "text", "text": row["prompt"][0]["content"]}
    prompt = trainer.processing_class.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": row["image"]}, text]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    completions = torch.randint(5, 300, shape, generator=torch.Generator().manual_seed(0))
    prompt_ids = prompt["input_ids"].repeat(group, 1)
    token_types = torch.as_tensor(prompt["mm_token_type_ids"]).repeat(group, 1)
    inputs = {
        "prompt_ids": prompt_ids,
        "prompt_mask": torch.ones_like(prompt_ids),
        "completion_ids": completions,
        "completion_mask": torch.ones_like(completions),
        "advantages": torch.linspace(-1, 1, group),
        "ref_per_token_logps": torch.full((group, length), -8.0),
        "num_items_in_batch": torch.tensor(group * length),
        "pixel_values": prompt["pixel_values"].repeat(group, 1),
        "image_grid_thw": prompt["image_grid_thw"].repeat(group, 1),
        "mm_token_type_ids": torch.cat([token_types, torch.zeros_like(completions)], dim=1),
    }
    inputs = {name: value.to(trainer.accelerator.device) for name, value in inputs.items()}
    return {**inputs, "num_images": [1] * group}


@torch.no_grad()
def _log_probs(trainer: GRPOTrainer, inputs: dict[str, Any]) -> torch.Tensor:
    fields = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    return trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
        torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
        inputs["completion_ids"].shape[1],
        **{name: inputs[name] for name in fields},
    )[0].float()


def _policy_pass(trainer: GRPOTrainer, inputs: dict[str, Any], meter: Meter) -> None:
    """Forward and backward of the loss."""
    with meter("policy"):
        loss = trainer._compute_loss(trainer.model, inputs)
        with meter("backward"):
            trainer.accelerator.backward(loss)


def _measured_pass(trainer: GRPOTrainer, inputs: dict[str, Any]) -> Meter:
    """A policy pass by itself, whose gradients nobody needs."""
    meter = Meter()
    _policy_pass(trainer, inputs, meter)
    trainer.model.zero_grad()
    return meter


def _step(trainer: GRPOTrainer, row: dict[str, Any], meter: Meter) -> None:
    """An optimizer step as TRL takes it, one group of completions to one prompt."""
    with (
        _metered(trainer, "_generate", "rollout", meter),
        _metered(trainer, "_get_per_token_logps_and_entropies", "reference", meter),
    ):
        inputs = trainer._prepare_inputs([row] * trainer.num_generations)
    _policy_pass(trainer, inputs, meter)
    with meter("update"):
        trainer.optimizer.step()
        trainer.model.zero_grad()


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    """Within, multiplications and additions of matrix products and convolutions are counted."""
    # As a call of its own, torch counts no attention on a CPU, and none whose heads share keys.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


@contextmanager
def _metered(trainer: GRPOTrainer, method: str, phase: str, meter: Meter) -> Iterator[None]:
    """Within, a method of the trainer is measured."""
    plain = getattr(trainer, method)

    def measured(*args: Any, **kwargs: Any) -> Any:
        with meter(phase):
            return plain(*args, **kwargs)

    setattr(trainer, method, measured)
    try:
        yield
    finally:
        delattr(trainer, method)


@contextmanager
def _variant(trainers: dict[str, GRPOTrainer], name: str) -> Iterator[GRPOTrainer]:
    """A trainer, or ours with one part of it switched off."""
    if name in trainers:
        yield trainers[name]
        return
    trainer = trainers["ours"]
    _switch(trainer, PARTS[name], on=False)
    try:
        yield trainer
    finally:
        _switch(trainer, PARTS[name], on=True)


def _switch(trainer: SharedPrefixTrainer, part: str | None, on: bool) -> None:
    if part is not None:
        setattr(trainer, part, on)
        return
    for model in (trainer.model, trainer.ref_model):
        quicken(model, on)
