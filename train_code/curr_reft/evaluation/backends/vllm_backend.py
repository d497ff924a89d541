"""Answers by vLLM in this process (an optional package: `curr_reft.models.vllm_support`)."""

import functools
import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from transformers import ProcessorMixin

from curr_reft.data.prompts import Request, render_prompt
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.generation import Completion, Save
from curr_reft.models.checkpoints import Checkpoint
from curr_reft.models.decoding import Decoding
from curr_reft.models.vllm_support import MEMORY_SHARE, check_served, vllm_fault
from curr_reft.models.weights import check_finite, skeleton
from curr_reft.processes import ProcessGroup

# vLLM batches by itself; this is how many answers a kill can cost, and how many images are held at once.
_ROWS_A_CALL = 512
_DECODE_THREADS = 8


def check_vllm(checkpoint: Checkpoint, processes: ProcessGroup) -> None:
    """Refuse what this backend cannot do, before anything is loaded.

    Raises:
        InputError: where vLLM does not run, for an adapter, a checkpoint without a processor, or under
            torchrun.
    """
    fault = vllm_fault(MEMORY_SHARE)
    if fault is not None:
        raise InputError(f"--backend vllm: {fault}")
    if processes.world_size > 1:
        raise InputError("--backend vllm: start it without torchrun; --tensor_parallel_size takes the GPUs")
    if checkpoint.base is not None:
        raise InputError(
            f"--model {checkpoint.path}: an adapter, which --backend transformers merges by itself; for vLLM"
            f" merge it with 'python -m curr_reft.models.merge {checkpoint.path} OUT'"
        )
    if not checkpoint.has_processor():
        raise InputError(f"--model {checkpoint.path}: vLLM needs the base model's processor files in it")


class VllmBackend:
    """A model on one or more GPUs, with the same prompts and images as the other backends.

    Raises:
        InputError: for a model that vLLM cannot serve, or weights that are not all there, before they load.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        processor: ProcessorMixin,
        decoding: Decoding,
        dtype: str,
        tensor_parallel_size: int,
        seed: int,
    ) -> None:
        check_served(checkpoint.path, "--model", dtype=dtype)
        skeleton(checkpoint.weights, "--model")
        check_finite(checkpoint.weights, "--model")
        vllm = importlib.import_module("vllm")
        self._processor = processor
        self._engine = vllm.LLM(
            model=str(checkpoint.path),
            dtype=dtype,
            seed=seed,
            tensor_parallel_size=tensor_parallel_size,
            gpu_memory_utilization=MEMORY_SHARE,
            # As long as memory allows: beside 7B on 24 GB a cache of the model's whole context has no room.
            max_model_len=-1,
            limit_mm_per_prompt={"image": 1},
        )
        self._sampling = functools.partial(
            vllm.SamplingParams,
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            max_tokens=decoding.max_new_tokens,
            repetition_penalty=decoding.repetition_penalty,
        )

    def answer(self, requests: Sequence[Request], processes: ProcessGroup, save: Save) -> None:
        """All requests, in groups; samples of one prompt share its prefix in vLLM's cache."""
        with ThreadPoolExecutor(_DECODE_THREADS) as decoders:
            for start in range(0, len(requests), _ROWS_A_CALL):
                group = requests[start : start + _ROWS_A_CALL]
                prompts = list(map(self._prompt, group, decoders.map(Request.open_image, group)))
                sampling = [self._sampling(seed=request.seed) for request in group]
                outputs = self._engine.generate(prompts, sampling, use_tqdm=False)
                answers = [output.outputs[0] for output in outputs]
                save(
                    [
                        (
                            request,
                            Completion(answer.text, len(answer.token_ids), answer.finish_reason == "length"),
                        )
                        for request, answer in zip(group, answers, strict=True)
                    ]
                )

    def _prompt(self, request: Request, image: Image.Image | None) -> dict[str, Any]:
        text = render_prompt(self._processor, request.prompt, image is not None)
        return {"prompt": text} | ({} if image is None else {"multi_modal_data": {"image": image}})
