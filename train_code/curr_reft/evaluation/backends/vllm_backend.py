"""Answers by vLLM in this process (an optional package; ``uv pip install vllm==0.25.1``)."""

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from transformers import ProcessorMixin

from curr_reft.data.dataset import render_prompt
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.generation import Completion, Save
from curr_reft.evaluation.request import Turn
from curr_reft.models.checkpoints import Checkpoint
from curr_reft.models.decoding import Decoding
from curr_reft.models.weights import check_finite, skeleton
from curr_reft.processes import Processes

# vLLM batches by itself; this is how many answers a kill can cost, and how many pictures are held at once.
_ROWS_A_CALL = 512
_DECODE_THREADS = 8


def check_vllm(checkpoint: Checkpoint, processes: Processes) -> None:
    """Refuse what this backend cannot do, before anything is loaded.

    Raises:
        InputError: without vLLM, for an adapter, a checkpoint without a processor, or under torchrun.
    """
    if importlib.util.find_spec("vllm") is None:
        raise InputError(
            "--backend vllm: vLLM is not installed; 'uv pip install vllm==0.25.1' on a GPU machine"
        )
    if processes.count > 1:
        raise InputError("--backend vllm: start it without torchrun; --tensor_parallel_size takes the GPUs")
    if checkpoint.base is not None:
        raise InputError(
            f"--model {checkpoint.path}: an adapter, which --backend transformers merges by itself"
        )
    if not checkpoint.has_processor():
        raise InputError(f"--model {checkpoint.path}: vLLM needs the base model's processor files in it")


class VllmBackend:
    """A model on one or more GPUs, with the same prompts and pictures as the other backends."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        processor: ProcessorMixin,
        decoding: Decoding,
        dtype: str,
        tensor_parallel_size: int,
        seed: int,
    ) -> None:
        skeleton(checkpoint.weights, "--model")
        check_finite(checkpoint.weights, "--model")
        vllm = importlib.import_module("vllm")
        self._processor = processor
        self._engine = vllm.LLM(
            model=str(checkpoint.path),
            dtype=dtype,
            seed=seed,
            tensor_parallel_size=tensor_parallel_size,
            limit_mm_per_prompt={"image": 1},
        )
        self._sampling = functools.partial(
            vllm.SamplingParams,
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            max_tokens=decoding.max_new_tokens,
            repetition_penalty=decoding.repetition_penalty,
        )

    def answer(self, turns: Sequence[Turn], processes: Processes, save: Save) -> None:
        """All turns, in groups; samples of one prompt share its prefix in vLLM's cache."""
        with ThreadPoolExecutor(_DECODE_THREADS) as decoders:
            for start in range(0, len(turns), _ROWS_A_CALL):
                group = turns[start : start + _ROWS_A_CALL]
                prompts = list(map(self._prompt, group, decoders.map(Turn.open_image, group)))
                sampling = [self._sampling(seed=turn.seed) for turn in group]
                outputs = self._engine.generate(prompts, sampling, use_tqdm=False)
                answers = [output.outputs[0] for output in outputs]
                save(
                    [
                        (
                            turn,
                            Completion(answer.text, len(answer.token_ids), answer.finish_reason == "length"),
                        )
                        for turn, answer in zip(group, answers, strict=True)
                    ]
                )

    def _prompt(self, turn: Turn, picture: Image.Image | None) -> dict[str, Any]:
        text = render_prompt(self._processor, turn.prompt, picture is not None)
        return {"prompt": text} | ({} if picture is None else {"multi_modal_data": {"image": picture}})
