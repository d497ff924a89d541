"""Images are seen once: the same answers as without, within the memory allowed."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from curr_reft.data.images import budget_size
from curr_reft.data.prompts import Request
from curr_reft.evaluation.backends import model_inputs
from curr_reft.evaluation.backends.generation import TransformersBackend
from curr_reft.evaluation.backends.model_inputs import ModelInputs
from curr_reft.models.checkpoints import Checkpoint
from curr_reft.models.decoding import Decoding
from curr_reft.models.processor import load_processor
from curr_reft.processes import ProcessGroup
from curr_reft.stages import ImageBudget


@pytest.fixture(scope="module")
def requests(world, tmp_path_factory):
    """Three questions about each of three images of different sizes, and one without an image."""
    folder = tmp_path_factory.mktemp("images")
    asked = []
    for number, path in enumerate(sorted((world / "images").glob("*/*.png"))[:3]):
        side = 84 + 56 * number
        image = folder / f"{number}.png"
        Image.open(path).resize((side, side)).save(image)
        for words in ("How many shapes are there?", "Where is the red circle?", "Which shapes? " * 4):
            name = f"{number} {words}"
            asked.append(Request(id=name, prompt=words, image=image, shown=(side, side), image_digest=name))
    return [*asked, Request(id="text", prompt="What is 2 + 2?", image=None, image_digest="text")]


@pytest.fixture
def backend(tiny_base):
    """Makes a backend, and counts the images that its vision tower gets at a time."""

    def make(batch_size: int = 4, penalty: float = 1.0) -> tuple[TransformersBackend, list[int]]:
        checkpoint = Checkpoint("base", tiny_base, None)
        decoding = Decoding(24, penalty)
        made = TransformersBackend(
            checkpoint, load_processor(str(tiny_base)), decoding, batch_size, "float32", None
        )
        looks = []
        made._model.model.visual.register_forward_pre_hook(
            lambda _, __, inputs: looks.append(len(inputs["grid_thw"])), with_kwargs=True
        )
        return made, looks

    return make


def answers(backend, requests, processes=None):
    saved = []
    backend.answer(requests, processes or ProcessGroup(), saved.extend)
    return {request.id: completion for request, completion in saved}


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_answers_are_those_of_images_that_are_seen_each_time(requests, backend, penalty, monkeypatch):
    kept, looks = backend(penalty=penalty)
    found = answers(kept, requests)
    assert sum(looks) == 3
    # Another suite about the same images.
    again = [
        replace(request, id=f"again {request.id}", image_digest=f"again {request.id}") for request in requests
    ]
    assert list(answers(kept, again).values()) == list(found.values())
    assert sum(looks) == 3
    # A family whose images are more than embeddings.
    monkeypatch.setattr(model_inputs, "FAMILIES", ())
    plain, looks = backend(penalty=penalty)
    assert type(plain._inputs) is ModelInputs
    assert answers(plain, requests) == found
    assert sum(looks) == 9


def test_a_process_gets_the_same_images_of_every_suite(requests, backend):
    parts = [backend() for _ in range(2)]
    for prefix in ("", "longer " * 3):
        suite = [
            replace(request, image_digest=prefix + request.image_digest, prompt=prefix + request.prompt)
            for request in requests
        ]
        found = {}
        for rank, (part, _) in enumerate(parts):
            found |= answers(part, suite, ProcessGroup(rank, 2))
        assert found.keys() == {request.id for request in requests}
    assert sum(sum(looks) for _, looks in parts) == 3


def test_answers_hold_where_nothing_can_be_kept(requests, backend, monkeypatch):
    found = answers(backend()[0], requests)
    monkeypatch.setattr(model_inputs, "_KEPT_BYTES", 0)
    forgetful, looks = backend(batch_size=1)
    assert answers(forgetful, requests) == found
    assert looks == [1] * 9


def test_one_image_of_two_sizes_is_two(requests, backend):
    large = next(request for request in requests if request.shown == (196, 196))
    budget = ImageBudget(trigger=10_000, max_pixels=10_000)
    small = replace(
        large, id="small", image_digest="small", budget=budget, shown=budget_size(large.shown, budget)
    )
    both, looks = backend()
    found = answers(both, [large, small])
    assert sum(looks) == 2
    for request in (large, small):
        assert answers(backend()[0], [request])[request.id] == found[request.id]
    resampled = replace(
        small, id="bicubic", image_digest="bicubic", budget=replace(budget, resample="BICUBIC")
    )
    answers(both, [resampled])
    assert sum(looks) == 3


def test_the_tower_takes_fewer_images_where_memory_runs_out(requests, backend, caplog):
    found = answers(backend()[0], requests)
    short, _ = backend(batch_size=10)
    look, sizes = short._model.get_image_features, []

    def out_of_memory_above_one(patches, grids):
        sizes.append(len(grids))
        if len(grids) > 1:
            raise torch.OutOfMemoryError
        return look(patches, grids)

    short._model.get_image_features = out_of_memory_above_one
    assert answers(short, requests) == found
    assert sizes == [3, 1, 2, 1, 1]
    assert "out of memory with 3 images" in caplog.text
