"""Backends that this machine lacks, on stand-ins; memory that runs out; a real server."""

import sys
from types import SimpleNamespace

import pytest
import torch

from curr_reft.data.prompts import Request
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.generation import TransformersBackend
from curr_reft.evaluation.backends.vllm_backend import VllmBackend, check_vllm
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


class StandInForVllm:
    """Takes what vLLM 0.25.1's `LLM` and `SamplingParams` take, and nothing else."""

    def __init__(self):
        self.made, self.calls = {}, []

    def LLM(self, model, *, dtype, seed, tensor_parallel_size, limit_mm_per_prompt):  # noqa: N802
        self.made = {"model": model, "dtype": dtype, "seed": seed, "limit": limit_mm_per_prompt}
        return SimpleNamespace(generate=self.generate)

    def SamplingParams(self, *, temperature, top_k, seed, max_tokens, repetition_penalty):  # noqa: N802
        return {name: value for name, value in locals().items() if name != "self"}

    def generate(self, prompts, sampling_params, *, use_tqdm):
        self.calls.append((prompts, sampling_params))
        return [
            SimpleNamespace(
                outputs=[SimpleNamespace(text=p["prompt"], token_ids=(1, 2), finish_reason="length")]
            )
            for p in prompts
        ]


def test_vllm_is_asked_greedily_with_rendered_prompts_and_images(tiny_base, asked, monkeypatch):
    vllm = StandInForVllm()
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setattr("curr_reft.evaluation.backends.vllm_backend._ROWS_A_CALL", 3)
    checkpoint = Checkpoint("base", tiny_base, None)
    backend = VllmBackend(checkpoint, load_processor(str(tiny_base)), Decoding(64, 1.05), "bfloat16", 2, 42)
    saved = []
    backend.answer(asked, ProcessGroup(), saved.append)
    assert [len(group) for group in saved] == [3, 2]
    assert [row.id for group in saved for row, _ in group] == [row.id for row in asked]
    (row, completion), prompt = saved[0][0], vllm.calls[0][0][0]
    assert completion == (prompt["prompt"], 2, True)
    assert row.prompt in prompt["prompt"]
    assert prompt["prompt"].count("<|image_pad|>") == 1
    assert prompt["multi_modal_data"]["image"].size == (84, 84)
    greedy = {"temperature": 0.0, "top_k": 0, "max_tokens": 64, "repetition_penalty": 1.05}
    assert vllm.calls[0][1] == [{**greedy, "seed": seed} for seed in (1, 2, 3)]
    assert vllm.made == {"model": str(tiny_base), "dtype": "bfloat16", "seed": 42, "limit": {"image": 1}}


def test_vllm_samples_text_alone(tiny_base, monkeypatch):
    vllm = StandInForVllm()
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    checkpoint = Checkpoint("base", tiny_base, None)
    decoding = Decoding(64, 1.0, temperature=0.7, top_k=50)
    backend = VllmBackend(checkpoint, load_processor(str(tiny_base)), decoding, "bfloat16", 1, 42)
    saved = []
    backend.answer(
        [Request(id="x", prompt="2 + 2?", image=None, image_digest="", seed=9)], ProcessGroup(), saved.extend
    )
    (prompt,), (sampling,) = vllm.calls[0]
    assert prompt.keys() == {"prompt"}
    assert "<|image_pad|>" not in prompt["prompt"]
    assert (sampling["temperature"], sampling["top_k"], sampling["seed"]) == (0.7, 50, 9)


def test_what_vllm_cannot_do_is_said_before_it_loads(tiny_base, tmp_path, monkeypatch):
    whole = Checkpoint("base", tiny_base, None)
    with pytest.raises(InputError, match="vLLM is not installed"):
        check_vllm(whole, ProcessGroup())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
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
