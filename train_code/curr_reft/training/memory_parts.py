"""The memory of a device, part by part, from a model's shape, how it is shared, and what is computed."""

from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedConfig
from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

from curr_reft.models.adapters import adapter_model
from curr_reft.models.vision_tower import FAMILIES, freeze_vision_tower
from curr_reft.models.weights import without_zero3
from curr_reft.training.adapters import lora_config
from curr_reft.training.model_arguments import ModelArguments

FLOAT32 = 4
"""Bytes."""
_GIB = 2**30
_STATES = 2 * FLOAT32
"""AdamW's two averages; other optimizers keep less."""


@dataclass(frozen=True)
class Tower:
    """The layers of the language model or of the vision tower, widths in numbers per token or patch."""

    layers: int
    hidden: int
    attention: int
    """What attention keeps for the backward pass: queries, keys and values, its output, and their copies."""
    intermediate: int
    ends: int = 0
    """What is kept before the first and after the last layer."""
    adapted: int = 0
    """Inputs of what has an adapter, of all layers together; each adapter keeps its own."""
    trained: bool = True
    """Whether anything in it is; otherwise nothing of it is kept for the backward pass."""


@dataclass(frozen=True)
class ModelShape:
    """A model's numbers of parameters and the widths of its layers."""

    parameters: int
    """All of them, a LoRA adapter's included."""
    linear: int
    """Those of linear layers, the head left out: what is quantized where anything is."""
    trained: int
    frozen: bool
    """Whether nothing but an adapter is trained."""
    dropout: bool
    """Whether the adapter has dropout, which keeps what it dropped."""
    head: int
    """Of the matrix that gives the logits, where it is trained."""
    vocabulary: int
    keys: int
    """Keys of a token in one layer; there are as many values."""
    text: Tower
    vision: Tower
    patches_per_token: int


def shape_of(config: PreTrainedConfig, model: ModelArguments) -> ModelShape | None:
    """The shape of a Qwen2.5-VL or Qwen2-VL model under the flags of LoRA, `None` for other families.

    The model is built without memory for its weights.

    Raises:
        InputError: when PEFT cannot make the adapter asked for.
    """
    if config.model_type not in FAMILIES:
        return None
    with without_zero3(), torch.device("meta"):
        network = AutoModelForImageTextToText.from_config(config)
        head = network.get_output_embeddings().weight
        linear = sum(
            each.weight.numel()
            for each in network.modules()
            if isinstance(each, nn.Linear) and each is not network.get_output_embeddings()
        )
        if model.freeze_vision:
            freeze_vision_tower(network)
        if model.use_peft:
            network = adapter_model(network, lora_config(model), "--lora_target_modules")
    text, vision = config.get_text_config(), config.vision_config
    keys = text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    # Qwen2-VL names them otherwise.
    width = vision.embed_dim if hasattr(vision, "embed_dim") else vision.hidden_size
    inner = vision.intermediate_size if hasattr(vision, "intermediate_size") else width * vision.mlp_ratio
    pixels = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    parameters = list(network.parameters())
    merged = vision.spatial_merge_size**2
    adapted = {
        # The merger's inputs are of so many patches each.
        name: each.in_features // (merged if ".merger." in name else 1)
        for name, each in network.named_modules()
        if isinstance(each, LoraLayer)
    }
    vision_adapted = sum(width for name, width in adapted.items() if ".visual." in name)
    return ModelShape(
        parameters=sum(each.numel() for each in parameters),
        linear=linear,
        trained=sum(each.numel() for each in parameters if each.requires_grad),
        frozen=model.use_peft,
        dropout=model.use_peft and model.lora_dropout > 0,
        head=head.numel() if head.requires_grad else 0,
        vocabulary=text.vocab_size,
        keys=keys,
        text=Tower(
            text.num_hidden_layers,
            text.hidden_size,
            3 * text.hidden_size + 2 * keys,
            text.intermediate_size,
            adapted=sum(adapted.values()) - vision_adapted,
        ),
        # Queries, keys and values are one tensor, kept whole; the merger has a norm and a layer of its own.
        vision=Tower(
            vision.depth,
            width,
            7 * width,
            int(inner),
            ends=2 * width if model.use_peft else pixels + 6 * width,
            adapted=vision_adapted,
            trained=vision_adapted > 0 or not (model.use_peft or model.freeze_vision),
        ),
        patches_per_token=merged,
    )


@dataclass(frozen=True)
class Sharing:
    """How weights and optimizer are kept, and how they are spread over processes."""

    processes: int
    deepspeed: bool
    zero: int
    """Stage of DeepSpeed's ZeRO, 0 without."""
    host_optimizer: bool
    host_weights: bool
    live_parameters: int
    """Most parameters that ZeRO-3 has gathered at a time, outside of rollouts."""
    gathers: bool
    """Whether ZeRO-3 gathers all weights for rollouts."""
    weight_bytes: int
    trained_bytes: int
    compute_bytes: int
    autocast: bool
    reference: bool
    checkpointing: bool
    quantized_bytes: float = 0
    """Of a number in a linear layer, where these are quantized."""


@dataclass(frozen=True)
class Work:
    """The most that a device computes at a time."""

    tokens: int
    """That a forward and backward pass holds."""
    patches: int
    predicted: int
    """Tokens of completions, whose logits are computed."""
    cached: int
    """Tokens of all rows of a rollout, their prompts included; 0 where vLLM keeps them."""
    vllm_share: float = 0
    """The part of the device that vLLM takes for itself, 0 where it is not on it."""
    device: int = 0
    """Bytes of the device that it takes them of, 0 where there is none here."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on each device; learning and rollouts take turns, the others stay."""

    weights: int
    reference: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    """A piece of the logits, and the head's gradient in float32."""
    gathered_to_learn: int
    cache: int
    gathered_for_rollouts: int
    host: int
    """On the host instead, for each process."""
    vllm_share: float
    device: int

    @property
    def vllm(self) -> int:
        """What vLLM takes for itself, unless it sleeps; 0 where the device is not known."""
        return int(self.vllm_share * self.device)

    @property
    def held(self) -> int:
        return self.weights + self.reference + self.gradients + self.optimizer

    @property
    def learning(self) -> int:
        return self.activations + self.head + self.gathered_to_learn

    @property
    def rollouts(self) -> int:
        return self.cache + self.gathered_for_rollouts

    @property
    def total(self) -> int:
        return self.held + self.vllm + max(self.learning, self.rollouts)

    def rows(self) -> list[tuple[str, str]]:
        """The plan as names and values in GiB."""
        beside = f"; on the host {_gib(self.host)} GiB for each process" if self.host else ""
        share = f"{self.vllm_share:g} of the device"
        beside += f"; beside it vLLM's {share}" if self.vllm_share and not self.device else ""
        rows = [
            ("memory per device, estimated", f"{_gib(self.total)} GiB at the longest prompts{beside}"),
            (
                "  held all the time",
                f"{_gib(self.held)} = weights {_gib(self.weights)} + reference {_gib(self.reference)}"
                f" + gradients {_gib(self.gradients)} + optimizer {_gib(self.optimizer)}",
            ),
            (
                "  more while learning",
                f"{_gib(self.learning)} = activations {_gib(self.activations)} + logits {_gib(self.head)}"
                f" + gathered weights {_gib(self.gathered_to_learn)}",
            ),
            (
                "  or in rollouts",
                f"{_gib(self.rollouts)} = gathered weights {_gib(self.gathered_for_rollouts)}"
                f" + cache {_gib(self.cache)}",
            ),
        ]
        if self.vllm:
            rows.append(("  and vLLM's own", f"{_gib(self.vllm)} GiB = {share}'s {_gib(self.device)}"))
        return rows


def _gib(size: int) -> str:
    return f"{size / _GIB:.{3 if 0 < size < _GIB / 10 else 1}f}"


def plan_memory(shape: ModelShape, sharing: Sharing, work: Work) -> MemoryPlan:
    """What the parts of a run hold."""

    def spread(size: int, from_stage: int) -> int:
        return -(-size // sharing.processes) if sharing.zero >= from_stage else size

    everything = shape.parameters * sharing.weight_bytes
    if sharing.quantized_bytes:
        everything -= int(shape.linear * (sharing.weight_bytes - sharing.quantized_bytes))
    weights = spread(everything, 3)
    reference = weights if sharing.reference else 0
    trained = shape.trained * sharing.trained_bytes
    if sharing.deepspeed:
        gradients = spread(trained, 2) + spread(shape.trained * FLOAT32, 1)
        optimizer = spread(shape.trained * (FLOAT32 + _STATES), 1)
    else:
        # Data parallel training sends gradients in buckets that are a copy of them.
        gradients = trained * (2 if sharing.processes > 1 else 1)
        optimizer = 2 * trained
    scattered = sharing.zero == 3 and (sharing.processes > 1 or sharing.host_weights)
    live = min(shape.parameters, sharing.live_parameters) * sharing.weight_bytes if scattered else 0
    host = (gradients + optimizer if sharing.host_optimizer else 0) + (
        weights + reference if sharing.host_weights else 0
    )
    copies = 2 * shape.trained if sharing.autocast else 0
    cached = 2 * shape.keys * shape.text.layers * sharing.compute_bytes
    return MemoryPlan(
        weights=0 if sharing.host_weights else weights,
        reference=0 if sharing.host_weights else reference,
        gradients=0 if sharing.host_optimizer else gradients,
        optimizer=0 if sharing.host_optimizer else optimizer,
        activations=_kept(shape, shape.text, work.tokens, sharing)
        + _kept(shape, shape.vision, work.patches, sharing)
        + copies,
        head=min(work.predicted, TOKEN_CHUNK_SIZE)
        * min(shape.vocabulary, _CHUNKED_LOGPROB_CHUNK_SIZE)
        * sharing.compute_bytes
        + shape.head * FLOAT32,
        gathered_to_learn=live,
        cache=work.cached * cached,
        gathered_for_rollouts=(everything if sharing.gathers else live) if scattered and work.cached else 0,
        host=host,
        vllm_share=work.vllm_share,
        device=work.device,
    )


def _kept(shape: ModelShape, tower: Tower, tokens: int, sharing: Sharing) -> int:
    """Bytes that a tower keeps for its backward pass; what is recomputed is one layer at a time.

    The terms were set by what torch saves for the tiny model (a test repeats that); a norm keeps its input in
    float32, its product and its output. Frozen weights keep no inputs, but each adapter keeps its own, in the
    adapter's type, and a byte for each number that dropout may drop.
    """
    if not tower.trained:
        return 0
    unit = sharing.compute_bytes
    norm = (14 if sharing.autocast else FLOAT32 + 2 * unit) * tower.hidden
    layer = 2 * norm + (tower.attention + 4 * tower.intermediate) * unit
    if shape.frozen:
        adapter = (unit if sharing.autocast else sharing.trained_bytes) + shape.dropout
        layer = 2 * FLOAT32 * tower.hidden + (tower.attention + 3 * tower.intermediate) * unit
        layer += adapter * tower.adapted // tower.layers
    if not sharing.checkpointing:
        return tokens * (tower.layers * layer + tower.ends * unit)
    inputs = tower.layers * tower.hidden * (FLOAT32 if sharing.autocast else unit)
    return tokens * (inputs + layer + tower.ends * unit)
