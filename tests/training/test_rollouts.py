"""Rollouts that compute a prompt once: the same completions, of fewer computations."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText

import curr_reft.data.dataset
from curr_reft.data.images import open_image
from curr_reft.data.prompts import render_prompt
from curr_reft.models.processor import load_processor
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of
from curr_reft.training.rollouts import distinct, once_per_image, once_per_prompt
from curr_reft.training.run import build_trainer, prepare

ORIGINS = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1))
def test_distinct_prompts_are_the_first_of_each_run(prompts):
    firsts, origins = distinct(prompts)
    assert [prompts[firsts[origin]] for origin in origins] == prompts
    assert all(prompts[one] != prompts[two] for one, two in pairwise(firsts))


@pytest.fixture(scope="module")
def processor(tiny_base):
    return load_processor(str(tiny_base))


@pytest.fixture(scope="module")
def images(world):
    opened = [open_image(path) for path in sorted((world / "images").glob("*/*.png"))[:4]]
    opened[1] = opened[1].resize((168, 112))
    return opened


@pytest.fixture(scope="module")
def inputs(processor, images):
    """Four prompts of several lengths, and the same with each repeated for its completions."""
    problems = ["How many shapes?", "Where is the red circle?", "Which shapes are there? " * 3, "Hm?"]
    texts = [
        render_prompt(processor, asking_of(STAGES["open"], "detection").prompt(problem))
        for problem in problems
    ]

    def padded(indices):
        return processor(
            text=[texts[index] for index in indices],
            images=[images[index] for index in indices],
            padding=True,
            return_tensors="pt",
        )

    once = padded(range(4))
    assert once["attention_mask"].sum(dim=1).unique().numel() > 2
    return SimpleNamespace(once=once, repeated=padded(ORIGINS))


@pytest.fixture
def model(tiny_base):
    return AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7, "top_p": 0.9},
        {"top_k": 0, "repetition_penalty": 1.3},
        {"top_k": 1},
        {"max_new_tokens": 1},
    ],
    ids=str,
)
def test_completions_are_those_of_transformers_under_the_same_seed(settings, inputs, model):
    settings = {"max_new_tokens": 40, "do_sample": True, "temperature": 1.0, "top_k": 50, **settings}
    logits, patches, rows = [], [], []
    model.register_forward_hook(lambda _, __, output: logits.append(output.logits[:, -1]))
    model.model.visual.register_forward_pre_hook(lambda _, given: patches.append(len(given[0])))
    with torch.no_grad():
        torch.manual_seed(5)
        theirs = model.generate(**inputs.repeated, **settings)
        first_logits = logits[0]
        logits.clear()
        with once_per_prompt(model, ORIGINS):
            torch.manual_seed(5)
            ours = model.generate(**inputs.once, **settings)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(logits[0][ORIGINS], first_logits, rtol=1e-5, atol=1e-5)
    assert patches == [3 * patches[1], len(inputs.once["pixel_values"])]

    completions = ours[:, inputs.once["input_ids"].shape[1] :]
    stops = torch.isin(completions, torch.tensor(model.generation_config.eos_token_id)).int()
    lengths = torch.where(stops.any(dim=1), stops.argmax(dim=1) + 1, completions.shape[1])
    rows = [len(step) for step in logits[1:]]
    assert rows == [int((lengths > step).sum()) for step in range(1, completions.shape[1])]
    if settings["max_new_tokens"] > 1:
        assert lengths.unique().numel() > 1


def test_a_sharp_choice_is_the_greedy_one(inputs, model):
    with torch.no_grad():
        greedy = model.generate(**inputs.repeated, max_new_tokens=24, do_sample=False)
        with once_per_prompt(model, ORIGINS):
            ours = model.generate(**inputs.once, max_new_tokens=24, do_sample=True, top_k=1)
    assert torch.equal(ours, greedy)


def test_outside_the_model_generates_as_before(inputs, model):
    with pytest.raises(RuntimeError, match="stop"), once_per_prompt(model, ORIGINS):
        raise RuntimeError("stop")
    with torch.no_grad():
        rows = model.generate(**inputs.once, max_new_tokens=2, do_sample=False)
    assert len(rows) == 4


@pytest.fixture
def processed(processor, monkeypatch):
    """The images that the image processor was given, by id."""
    kind = type(processor.image_processor)
    ordinary, given = kind.__call__, []

    def call(self, images, *args, **kwargs):
        flat = [image for own in images for image in (own if isinstance(own, list) else [own])]
        given.extend(map(id, flat))
        return ordinary(self, images, *args, **kwargs)

    monkeypatch.setattr(kind, "__call__", call)
    return given


def test_an_image_is_processed_once_however_often_it_is_asked_for(processor, images, processed):
    text = render_prompt(processor, "What is it?")
    two = text.replace("<|image_pad|>", "<|image_pad|><|image_pad|>")
    copy = images[0].copy()
    asked = {
        "text": [text, two, text, text],
        "images": [[images[0]], [images[1], images[0]], [copy], [images[0]]],
        "padding": True,
        "return_tensors": "pt",
    }
    expected = processor(**asked)
    processed.clear()
    with once_per_image(processor):
        actual = [processor(**asked), processor(**asked)]
    # Equal to another is not the same: only the objects are known to be.
    assert processed == [id(images[0]), id(images[1]), id(copy)]
    for each in actual:
        assert each.keys() == expected.keys()
        assert all(torch.equal(each[name], expected[name]) for name in expected)

    with pytest.raises(RuntimeError, match="stop"), once_per_image(processor):
        raise RuntimeError("stop")
    processor(**asked)
    assert len(processed) == 3 + 5


def test_completions_of_a_prompt_share_the_opened_image(stage_flags, trainers, monkeypatch):
    dataset = prepare(trainers["open"].stage, stage_flags("open")).plan.train.dataset
    curr_reft.data.dataset._open.cache_clear()
    opened = []
    monkeypatch.setattr(
        curr_reft.data.dataset, "open_image", lambda path: opened.append(path) or open_image(path)
    )
    rows = dataset.__getitems__([0, 0, 0, 5, 5, 5])
    dataset.__getitems__([5, 0])
    assert len(opened) == 2
    assert [row["image"] is rows[0]["image"] for row in rows] == [True] * 3 + [False] * 3


@pytest.mark.slow
def test_a_step_processes_an_image_and_computes_a_prompt_once(stage_flags, trainers, processed):
    def step(*more):
        flags = stage_flags(
            *("open", "--max_steps", "1", "--max_completion_length", "8", "--num_generations", "4"),
            *("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"),
            *("--save_strategy", "no", *more),
        )
        trainer = build_trainer(prepare(trainers["open"].stage, flags), trainers["open"])
        patches = []
        trainer.model.model.visual.register_forward_pre_hook(lambda _, given: patches.append(len(given[0])))
        processed.clear()
        trainer.train()
        return len(processed), patches

    count, (rollout, *learning) = step()
    assert count == 4
    assert len(learning) == 2
    assert rollout == sum(learning)
    # TRL processes images for the rollout and for learning, each for all four completions.
    their_count, (their_rollout, *their_learning) = step("--shared_prefix", "false")
    assert their_count == 2 * 4 * 4
    assert their_rollout == sum(their_learning) == 4 * rollout


@pytest.mark.parametrize("settings", ['{"do_sample": false}', '{"num_beams": 2}'])
def test_other_ways_to_generate_are_left_to_trl(settings, stage_flags, trainers, caplog):
    flags = stage_flags("open", "--generation_kwargs", settings)
    trainer = build_trainer(prepare(trainers["open"].stage, flags), trainers["open"])
    assert trainer.shares_prefix
    assert not trainer.shares_rollouts
    assert "--generation_kwargs" in caplog.text
