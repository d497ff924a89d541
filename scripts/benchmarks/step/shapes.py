"""The models, rows and targets of the benchmark."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    set_seed,
)
from transformers.image_utils import SizeDict

from curr_reft.data.prompts import prompt_token_counts
from curr_reft.models.processor import load_processor

_TINY = Path(__file__).resolve().parents[3] / "train_code/curr_reft/data/shapes/tiny/base"
_IMAGE = (756, 532)
_PATCHES = _IMAGE[0] * _IMAGE[1] // 14**2
PROMPT_TOKENS = 596

Shape = tuple[int, int]
"""Group size and completion length."""


@dataclass(frozen=True)
class Targets:
    """Least speed-ups over TRL, and most memory of a policy pass as a part of TRL's."""

    policy_speedup: dict[Shape, float]
    step_speedup: dict[Shape, float]
    memory_ratio: dict[Shape, float]


@dataclass(frozen=True)
class Preset:
    """A model and what is measured on it."""

    text: dict[str, Any]
    vision: dict[str, Any]
    dtype: torch.dtype
    shapes: tuple[Shape, ...]
    """Of the policy passes; the whole step has the first."""
    targets: Targets = field(default_factory=lambda: Targets({}, {}, {}))


PRESETS = {
    # 31 M and 12.5 M parameters; the head's share of the language model is that of the 3B.
    "cpu": Preset(
        text={
            "hidden_size": 512,
            "num_hidden_layers": 9,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "intermediate_size": 1600,
            "vocab_size": 5888,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
        },
        vision={
            "depth": 5,
            "hidden_size": 384,
            "num_heads": 6,
            "intermediate_size": 1024,
            "out_hidden_size": 512,
            "fullatt_block_indexes": [2, 4],
        },
        dtype=torch.float32,
        shapes=((4, 256), (8, 256), (4, 128), (8, 128)),
        targets=Targets(
            policy_speedup={(4, 256): 3, (8, 256): 4, (4, 128): 4, (8, 128): 7},
            step_speedup={(4, 256): 2},
            memory_ratio={(4, 256): 0.5, (8, 256): 0.5, (4, 128): 0.5, (8, 128): 0.5},
        ),
    ),
    # For trying what measures, not for measuring.
    "tiny": Preset(
        text={
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 96,
            "vocab_size": 600,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
        },
        vision={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 48,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        dtype=torch.float32,
        shapes=((2, 8),),
    ),
    # https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct/blob/main/config.json
    "3b": Preset(
        text={
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "intermediate_size": 11008,
            "vocab_size": 151936,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision={
            "depth": 32,
            "hidden_size": 1280,
            "num_heads": 16,
            "intermediate_size": 3420,
            "out_hidden_size": 2048,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        dtype=torch.bfloat16,
        shapes=((4, 256), (8, 256)),
    ),
}


def save_checkpoint(preset: Preset, folder: Path) -> ProcessorMixin:
    """Write random weights of the preset's shapes, and the tiny model's processor, which is returned."""
    processor = load_processor(str(_TINY))
    processor.image_processor.size = SizeDict(shortest_edge=28 * 28, longest_edge=_IMAGE[0] * _IMAGE[1])
    tokenizer = processor.tokenizer
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen2_5_VLConfig(
        text_config={**preset.text, **special, "bos_token_id": None, "tie_word_embeddings": True},
        vision_config={**preset.vision, "window_size": 112},
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    set_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=preset.dtype)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return processor


def make_row(processor: ProcessorMixin) -> dict[str, Any]:
    """An image of noise and a question, `PROMPT_TOKENS` long together."""
    question = "Where is the red circle?"
    while (tokens := prompt_token_counts(processor, [question], [_PATCHES // 4])[0]) < PROMPT_TOKENS:
        question += " red"
    if tokens != PROMPT_TOKENS:
        raise RuntimeError(f"the question makes a prompt of {tokens} tokens, not of {PROMPT_TOKENS}")
    noise = torch.randint(0, 256, (_IMAGE[1], _IMAGE[0], 3), dtype=torch.uint8)
    return {"prompt": [{"role": "user", "content": question}], "image": Image.fromarray(noise.numpy())}
