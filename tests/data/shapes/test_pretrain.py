"""The recipe of the tiny base, in miniature."""

import dataclasses
import random

import pytest
import torch
from transformers import AutoModelForImageTextToText

from curr_reft.data.shapes.tiny import pretrain
from curr_reft.models.processor import load_processor


@pytest.mark.slow
def test_every_phase_runs_and_leaves_a_loadable_base(tmp_path):
    phases = [dataclasses.replace(phase, steps=1) for phase in pretrain.PHASES]
    pretrain.pretrain(tmp_path, 1, phases, seed=0)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16
    assert load_processor(str(tmp_path)).tokenizer.padding_side == "left"


@pytest.mark.parametrize("kind", ["question", "description", "location", "loose_box"])
def test_labels_are_the_completion_alone(kind, tiny_base):
    processor = load_processor(str(tiny_base))
    make = getattr(pretrain, f"{kind}_rows")
    rows = make(random.Random(0), 6, 0.5) if kind == "question" else make(random.Random(0), 6)
    batch = pretrain.encode(processor, rows)
    for labels, (_, _, completion) in zip(batch["labels"], rows, strict=True):
        assert processor.tokenizer.decode(labels[labels != -100]) == completion + "<|im_end|>"
