"""A model's shape: how many parameters it has and how wide its layers are, without its weights."""

from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForImageTextToText, PreTrainedConfig
from trl import get_peft_config

from curr_reft.models.vision_tower import FAMILIES
from curr_reft.models.weights import adapter_model, without_zero3
from curr_reft.training.arguments import ModelArguments


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


@dataclass(frozen=True)
class ModelShape:
    """A model's numbers of parameters and the widths of its layers."""

    parameters: int
    """All of them, a LoRA adapter's included."""
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
        if model.use_peft:
            network = adapter_model(network, get_peft_config(model), "--use_peft")
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
        ),
        patches_per_token=merged,
    )
