#!/usr/bin/env python
"""Write a checkpoint in the form and size of the published Qwen2.5-VL, with random weights.

    python scripts/full_size.py --size 3b --output outputs/full_size/3b [--tokenizer DIR] [--seed 0]

Names, shapes, special token ids, config.json, preprocessor_config.json and generation_config.json are those
of Qwen/Qwen2.5-VL-3B-Instruct and Qwen/Qwen2.5-VL-7B-Instruct, so that the way from a published checkpoint
to a scored adapter can be rehearsed where nothing can be downloaded; the answers are noise. Weights are
bfloat16, written shard by shard, of 2 GB at most, of which memory holds one and a copy. Without --tokenizer
the tokenizer of the embedded world is taken, padded so that special tokens have their published ids. Size
tiny has the same form, and is for trying this.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from curr_reft.data.shapes.tiny.chat_template import CHAT_TEMPLATE
from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing, room_below
from curr_reft.files.cli import CommandParser

logger = logging.getLogger("full_size")

_EMBEDDED = Path(__file__).resolve().parents[1] / "train_code/curr_reft/data/shapes/tiny/base"
_LARGEST_SHARD = 2 * 10**9
_BOUND = 0.02 * 3**0.5
"""Of uniform weights with the published initializer_range as their deviation; torch draws them seven times as
fast as normal ones."""
_FIRST_SPECIAL = 151643
_SPECIAL = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "bos_token_id": "<|endoftext|>",
    "eos_token_id": "<|im_end|>",
}

# https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct/blob/main/config.json, and 7B's beside it.
_CONFIG = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 128000,
    "model_type": "qwen2_5_vl",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}
_VISION = {
    "depth": 32,
    "hidden_act": "silu",
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "in_chans": 3,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "spatial_patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
    "temporal_patch_size": 2,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "3b": {
        **_CONFIG,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "max_window_layers": 70,
        "num_attention_heads": 16,
        "num_hidden_layers": 36,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "vision_config": {**_VISION, "out_hidden_size": 2048},
        "vocab_size": 151936,
    },
    "7b": {
        **_CONFIG,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_window_layers": 28,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
        "vision_config": {**_VISION, "out_hidden_size": 3584},
        "vocab_size": 152064,
    },
    "tiny": {
        **_CONFIG,
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_window_layers": 2,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "tie_word_embeddings": True,
        "vision_config": {
            **_VISION,
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 32,
        },
        "vocab_size": 151936,
    },
}
_PREPROCESSOR = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
_GENERATION = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "repetition_penalty": 1.05,
    "temperature": 0.000001,
    "transformers_version": "4.49.0",
}


def published_name(name: str) -> str:
    """A weight's name in published checkpoints, which are older than transformers' own today."""
    return name.replace("model.visual.", "visual.", 1).replace("model.language_model.", "model.", 1)


def padded_tokenizer(contents: dict[str, Any]) -> dict[str, Any]:
    """A small BPE's tokenizer.json with tokens that no text has, up to the first published special one.

    Its special tokens, which are in the published order, follow.
    """
    vocabulary = dict(contents["model"]["vocab"])
    special = [token for token in contents["added_tokens"] if token["special"]]
    plain = [token for token in contents["added_tokens"] if not token["special"]]
    vocabulary |= {token["content"]: token["id"] for token in plain}
    vocabulary |= {f"<|filler {number}|>": number for number in range(len(vocabulary), _FIRST_SPECIAL)}
    special = [{**token, "id": number} for number, token in enumerate(special, _FIRST_SPECIAL)]
    model = {**contents["model"], "vocab": vocabulary}
    return {**contents, "model": model, "added_tokens": [*plain, *special], "padding": None}


def load_tokenizer(folder: Path | None, config: dict[str, Any]) -> Qwen2Tokenizer:
    """The tokenizer of a folder, or the padded one of the embedded world.

    Raises:
        InputError: when it has no tokenizer.json, or its special tokens are not the configuration's.
    """
    path = (folder or _EMBEDDED) / "tokenizer.json"
    try:
        contents = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--tokenizer {path}: cannot be read ({' '.join(str(error).split())})") from error
    text = json.dumps(contents if folder else padded_tokenizer(contents))
    try:
        tokenizer = Tokenizer.from_str(text)
    # The library knows no exception of its own.
    except Exception as error:
        raise InputError(f"--tokenizer {path}: no tokenizer ({' '.join(str(error).split())})") from error
    for name, token in _SPECIAL.items():
        if (found := tokenizer.token_to_id(token)) != config[name]:
            raise InputError(f"--tokenizer {path}: {token} is {found}, and {name} is {config[name]}")
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    return Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in special if token not in ("<|im_end|>", "<|endoftext|>")],
    )


def write_weights(config: dict[str, Any], output: Path, seed: int) -> int:
    """Write random weights under the published names, in two shards or more, and their index.

    Returns:
        The number of parameters.
    """
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            Qwen2_5_VLConfig(**config), dtype=torch.bfloat16
        )
    weights = {published_name(name): weight for name, weight in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        del weights["lm_head.weight"]
    size = sum(weight.nbytes for weight in weights.values())
    shards = split_torch_state_dict_into_shards(
        weights,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=min(_LARGEST_SHARD, size // 2),
    )
    random = torch.Generator().manual_seed(seed)
    with tqdm(total=size, desc="weights", unit="B", unit_scale=True) as bar:
        for file, names in shards.filename_to_tensors.items():
            shard = {name: _drawn(name, weights[name].shape, random) for name in names}
            save_file(shard, output / file, metadata={"format": "pt"})
            bar.update(sum(weight.nbytes for weight in shard.values()))
    index = {"metadata": {"total_size": size}, "weight_map": shards.tensor_to_filename}
    _write_json(output / "model.safetensors.index.json", index)
    return size // torch.bfloat16.itemsize


def _drawn(name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor:
    if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "ln_q.weight")):
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).uniform_(-_BOUND, _BOUND, generator=random)


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(contents, indent=2) + "\n")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write a checkpoint."""
    parser = CommandParser(prog="python scripts/full_size.py", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=CONFIGS, required=True)
    parser.add_argument("--output", type=Path, required=True, help="an empty folder, or none yet")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="holds the published tokenizer.json")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output, config = arguments.output, CONFIGS[arguments.size]
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: there is something; give another folder")
    if not 0 <= arguments.seed < 2**63:
        raise InputError(f"--seed {arguments.seed}: expected 0 or more, below 2^63")
    tokenizer = load_tokenizer(arguments.tokenizer, config)
    for name, contents in {
        "config": config,
        "preprocessor_config": _PREPROCESSOR,
        "generation_config": _GENERATION,
        "chat_template": {"chat_template": CHAT_TEMPLATE},
    }.items():
        _write_json(output / f"{name}.json", contents)
    with room_below(output):
        tokenizer.save_pretrained(output)
        parameters = write_weights(config, output, arguments.seed)
    logger.info("%s: %.2f billion random parameters", output, parameters / 1e9)


if __name__ == "__main__":
    main()
