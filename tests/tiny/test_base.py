"""The committed tiny base is small, real Qwen2.5-VL, and can be rebuilt."""

import random

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from curr_reft.data.shapes import IN_DOMAIN, sample_scene
from curr_reft.data.shapes_dataset import QUESTIONS
from curr_reft.stages import STAGES
from curr_reft.tiny.model import build_model, build_processor, completion_text


def test_base_is_small_and_made_of_qwens_classes(tiny_base):
    assert sum(path.stat().st_size for path in tiny_base.iterdir()) <= 8_000_000
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    processor = AutoProcessor.from_pretrained(tiny_base)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    assert processor.tokenizer.padding_side == "left"
    assert model.config.image_token_id == processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")


def test_rebuilding_gives_the_committed_tokenizer_and_shape(tiny_base):
    processor = build_processor()
    committed = AutoProcessor.from_pretrained(tiny_base)
    assert processor.tokenizer.get_vocab() == committed.tokenizer.get_vocab()
    assert processor.chat_template == committed.chat_template
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    assert {n: p.shape for n, p in build_model(processor).named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }


@pytest.mark.parametrize("stage", list(STAGES))
def test_tokenizer_spells_numbers_digit_by_digit_and_decodes_what_it_encodes(stage, tiny_base):
    tokenizer = AutoProcessor.from_pretrained(tiny_base).tokenizer
    rng = random.Random(0)
    for question in QUESTIONS[stage](rng, sample_scene(rng, IN_DOMAIN)):
        for text in (
            STAGES[stage].prompt(question.task, question.problem),
            completion_text(question.thought, question.answer),
        ):
            assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.tokenize("[12, 345]")[1:3] == ["1", "2"]
