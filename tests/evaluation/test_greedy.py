"""The decoding loop against transformers' own."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

from curr_reft.data.dataset import render_prompt
from curr_reft.data.images import open_image
from curr_reft.evaluation.greedy import decode_greedily
from curr_reft.processor import load_processor
from curr_reft.stages import STAGES


@pytest.fixture(scope="module")
def prompts(tiny_base, world):
    """Prompts of all lengths, about pictures of two sizes, padded."""
    processor = load_processor(str(tiny_base))
    problems = [
        "How many shapes?",
        "Where is the red circle?",
        "Which kinds of shapes are there? " * 3,
        "Hm?",
    ]
    pictures = [open_image(path) for path in sorted((world / "images").glob("*/*.png"))[:4]]
    pictures[1] = pictures[1].resize((168, 112))
    texts = [render_prompt(processor, STAGES["open"].prompt("detection", problem)) for problem in problems]
    return processor(text=texts, images=pictures, padding=True, return_tensors="pt")


@pytest.mark.parametrize("settings", [{}, {"repetition_penalty": 1.3}, {"max_new_tokens": 1}])
def test_tokens_are_those_of_transformers_own_loop(settings, prompts, tiny_base):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).eval()
    options = {"max_new_tokens": 48, "do_sample": False, "top_k": None, "temperature": None, **settings}
    with torch.inference_mode():
        theirs = model.generate(**prompts, **options)
        ours = model.generate(**prompts, **options, custom_generate=decode_greedily)
    assert torch.equal(ours, theirs)


def test_a_row_that_has_ended_is_not_computed_again(prompts, tiny_base):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).eval()
    rows = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    with torch.inference_mode():
        output = model.generate(
            **prompts, max_new_tokens=48, do_sample=False, custom_generate=decode_greedily
        )
    answers = output[:, prompts["input_ids"].shape[1] :]
    stops = torch.isin(answers, torch.tensor(model.generation_config.eos_token_id))
    lengths = torch.where(stops.any(dim=1), stops.int().argmax(dim=1) + 1, answers.shape[1])
    assert len(set(lengths.tolist())) > 1
    assert rows == [int((lengths > step).sum()) for step in range(answers.shape[1])]
