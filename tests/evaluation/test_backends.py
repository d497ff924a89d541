"""What vLLM's backend refuses (`tests/real_vllm` runs it); memory that runs out; several processes."""

import pytest
import torch

from curr_reft.data.prompts import Request
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.generation import TransformersBackend
from curr_reft.evaluation.backends.vllm_backend import check_vllm
from curr_reft.models.checkpoints import Checkpoint
from curr_reft.models.decoding import Decoding
from curr_reft.models.processor import load_processor
from curr_reft.processes import ProcessGroup


@pytest.fixture
def asked(world):
    image = next((world / "images").glob("*/*.png"))
    return [
        Request(
            id=f"x:{n}",
            prompt="How many shapes? " * n,
            image=image,
            shown=(84, 84),
            image_digest=f"prompt {n}",
            seed=n,
        )
        for n in range(1, 6)
    ]


def test_what_vllm_cannot_do_is_said_before_it_loads(tiny_base, tmp_path, monkeypatch):
    whole = Checkpoint("base", tiny_base, None)
    with pytest.raises(InputError, match="--backend vllm: vLLM is not installed"):
        check_vllm(whole, ProcessGroup())
    monkeypatch.setattr("curr_reft.evaluation.backends.vllm_backend.vllm_fault", lambda _: None)
    check_vllm(whole, ProcessGroup())
    with pytest.raises(InputError, match="start it without torchrun"):
        check_vllm(whole, ProcessGroup(0, 2))
    with pytest.raises(InputError, match="an adapter"):
        check_vllm(Checkpoint("a", tmp_path, None, base=tiny_base), ProcessGroup())
    with pytest.raises(InputError, match="needs the base model's processor files"):
        check_vllm(Checkpoint("a", tmp_path, None), ProcessGroup())


def test_batches_are_halved_where_memory_runs_out(tiny_base, asked, monkeypatch, caplog):
    checkpoint = Checkpoint("base", tiny_base, None)
    processor = load_processor(str(tiny_base))
    backend = TransformersBackend(checkpoint, processor, Decoding(16, 1.0), 5, "float32", None)
    whole = []
    backend.answer(asked, ProcessGroup(), whole.extend)
    generate, sizes = backend._model.generate, []

    def out_of_memory_above_two_rows(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError
        return generate(**inputs)

    monkeypatch.setattr(backend._model, "generate", out_of_memory_above_two_rows)
    halved = []
    backend.answer(asked, ProcessGroup(), halved.extend)
    assert halved == whole
    assert sizes == [5, 2, 3, 1, 2]
    assert "out of memory with 5 rows" in caplog.text
    monkeypatch.setattr(backend._model, "generate", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        backend.answer(asked[:1], ProcessGroup(), halved.extend)


def test_each_process_answers_its_own_batches(tiny_base, asked):
    checkpoint = Checkpoint("base", tiny_base, None)
    backend = TransformersBackend(
        checkpoint, load_processor(str(tiny_base)), Decoding(8, 1.0), 2, "float32", None
    )
    shares = []
    for rank in range(2):
        saved = []
        backend.answer(asked, ProcessGroup(rank, 2), saved.extend)
        shares.append({row.id for row, _ in saved})
    assert shares[0].isdisjoint(shares[1])
    assert shares[0] | shares[1] == {row.id for row in asked}
    # The longest first, batches of two.
    assert shares[0] == {"x:5", "x:4", "x:1"}
