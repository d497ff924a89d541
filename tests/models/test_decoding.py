"""The decoding loop against transformers' own."""

from functools import partial

import pytest
import torch
from transformers import AutoModelForImageTextToText

from curr_reft.data.images import open_image
from curr_reft.data.prompts import render_prompt
from curr_reft.models.decoding import Decoding, decode
from curr_reft.models.processor import load_processor
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of

GREEDY = Decoding(48, 1.0)


@pytest.fixture(scope="module")
def prompts(tiny_base, world):
    """Prompts of all lengths, about images of two sizes, padded."""
    processor = load_processor(str(tiny_base))
    problems = [
        "How many shapes?",
        "Where is the red circle?",
        "Which kinds of shapes are there? " * 3,
        "Hm?",
    ]
    images = [open_image(path) for path in sorted((world / "images").glob("*/*.png"))[:4]]
    images[1] = images[1].resize((168, 112))
    texts = [
        render_prompt(processor, asking_of(STAGES["open"], "detection").prompt(problem))
        for problem in problems
    ]
    return processor(text=texts, images=images, padding=True, return_tensors="pt")


@pytest.mark.parametrize("settings", [{}, {"repetition_penalty": 1.3}, {"max_new_tokens": 1}])
def test_tokens_are_those_of_transformers_own_loop(settings, prompts, tiny_base):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).eval()
    options = {"max_new_tokens": 48, "do_sample": False, "top_k": None, "temperature": None, **settings}
    with torch.inference_mode():
        theirs = model.generate(**prompts, **options)
        ours = model.generate(
            **prompts,
            **options,
            custom_generate=partial(decode, choose=GREEDY.chooser([0] * 4), origins=torch.arange(4)),
        )
    assert torch.equal(ours, theirs)


def test_a_row_that_has_ended_is_not_computed_again(prompts, tiny_base):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).eval()
    rows = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    with torch.inference_mode():
        output = model.generate(
            **prompts,
            max_new_tokens=48,
            do_sample=False,
            custom_generate=partial(decode, choose=GREEDY.chooser([0] * 4), origins=torch.arange(4)),
        )
    answers = output[:, prompts["input_ids"].shape[1] :]
    stops = torch.isin(answers, torch.tensor(model.generation_config.eos_token_id))
    lengths = torch.where(stops.any(dim=1), stops.int().argmax(dim=1) + 1, answers.shape[1])
    assert len(set(lengths.tolist())) > 1
    assert rows == [int((lengths > step).sum()) for step in range(answers.shape[1])]


def test_draws_follow_the_distribution():
    scores = torch.tensor([0.0, 1.0, 2.0, -torch.inf, 0.5]).repeat(4000, 1)
    decoding = Decoding(1, 1.0, temperature=0.5, top_k=3)
    tokens = decoding.chooser(range(4000))(scores, torch.arange(4000), 0)
    expected = (torch.tensor([1.0, 2.0, 0.5]) / 0.5).softmax(dim=0)
    shares = torch.bincount(tokens, minlength=5) / 4000
    # Four standard deviations of a share are below 0.032.
    assert torch.allclose(shares[[1, 2, 4]].double(), expected.double(), atol=0.032)
    assert shares[[0, 3]].sum() == 0


@pytest.mark.parametrize("top_k", [0, 2, 99])
def test_a_token_of_probability_zero_is_never_drawn(top_k):
    scores = torch.tensor([[-torch.inf, 3.0, -torch.inf]]).repeat(500, 1)
    choose = Decoding(1, 1.0, temperature=1.0, top_k=top_k).chooser(range(500))
    assert (choose(scores, torch.arange(500), 0) == 1).all()


def test_a_row_draws_the_same_alone_and_among_others():
    scores = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    decoding = Decoding(3, 1.0, temperature=1.0)
    together = decoding.chooser([5, 6, 7, 8, 9, 10])
    for step in range(3):
        # Rows 1 and 4 have ended.
        rows = torch.tensor([0, 2, 3, 5])
        tokens = together(scores[rows], rows, step)
        for token, row in zip(tokens, rows.tolist(), strict=True):
            alone = decoding.chooser([5 + row])(scores[row : row + 1], torch.tensor([0]), step)
            assert token == alone[0]


def test_samples_of_a_prompt_are_those_of_the_prompt_repeated(prompts, tiny_base):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).eval()
    processor = load_processor(str(tiny_base))
    decoding, seeds = Decoding(24, 1.0, temperature=1.0, top_k=50), range(8)
    origins = torch.tensor([0, 0, 0, 2, 1, 1, 3, 0])
    sizes = prompts["image_grid_thw"].prod(dim=1).tolist()
    patches = prompts["pixel_values"].split(sizes)
    repeated = {
        **{name: prompts[name][origins] for name in ("input_ids", "attention_mask", "mm_token_type_ids")},
        "image_grid_thw": prompts["image_grid_thw"][origins],
        "pixel_values": torch.cat([patches[origin] for origin in origins]),
    }
    rows = []
    with torch.inference_mode():
        apart = model.generate(
            **repeated,
            max_new_tokens=24,
            do_sample=False,
            custom_generate=partial(decode, choose=decoding.chooser(seeds), origins=torch.arange(8)),
        )
        model.model.visual.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
        shared = model.generate(
            **prompts,
            max_new_tokens=24,
            do_sample=False,
            custom_generate=partial(decode, choose=decoding.chooser(seeds), origins=origins),
        )
    assert processor.tokenizer.batch_decode(shared) == processor.tokenizer.batch_decode(apart)
    assert rows == [sum(sizes)]
