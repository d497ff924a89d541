"""The tiny base: Qwen2.5-VL's own classes at 1.9 million parameters, with a tokenizer of its own."""

import random
from collections.abc import Iterator

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from curr_reft.data.shapes.__main__ import QUESTIONS
from curr_reft.data.shapes.scenes import IN_DOMAIN, OUT_OF_DOMAIN, sample_scene
from curr_reft.data.shapes.tiny.chat_template import CHAT_TEMPLATE
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import known_tasks

VOCABULARY = 768

_SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
# Qwen2's word pattern: digits one by one, so that coordinates are spelt the way the 3B model spells them.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def completion_text(thought: str, answer: str) -> str:
    """The format every stage asks for."""
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _corpus(rows: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    yield from [
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nassistant\n"
    ] * rows
    for _ in range(rows):
        scene = sample_scene(rng, rng.choice((IN_DOMAIN, OUT_OF_DOMAIN)))
        for ask in QUESTIONS.values():
            for question in ask(rng, scene):
                yield from (question.problem, question.thought, question.answer)


def _fixed_texts() -> list[str]:
    tasks = known_tasks().values()
    instructions = {task.asking(stage).instruction.strip() for stage in STAGES.values() for task in tasks}
    return ["<think>", "</think>", "<answer>", "</answer>", *sorted(instructions)]


def build_tokenizer(seed: int = 0) -> Qwen2Tokenizer:
    """Train a byte-level BPE of at most `VOCABULARY` entries on the world's prompts and answers.

    The stages' instructions and the four tags are one token each: spelt out they are half of every sequence,
    and of the time a CPU spends on it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(_SPECIAL_TOKENS) - len(_fixed_texts()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(300, seed), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in _fixed_texts()])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL_TOKENS])
    return Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=list(_SPECIAL_TOKENS[3:]),
        padding_side="left",
    )


def build_processor(seed: int = 0) -> Qwen2_5_VLProcessor:
    """Qwen2.5-VL's processor around the tiny tokenizer; images of the world keep their size."""
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 256}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=build_tokenizer(seed),
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: Qwen2_5_VLProcessor, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """A freshly initialised tiny Qwen2.5-VL in float32."""
    token = processor.tokenizer.convert_tokens_to_ids
    eos, pad = token("<|im_end|>"), token("<|endoftext|>")
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": 3,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [2],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [eos, pad]
    model.generation_config.pad_token_id = pad
    return model
