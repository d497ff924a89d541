"""Who is asked: weights on this machine, or a model behind a URL."""

import hashlib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import ProcessorMixin

from curr_reft.boxes import BoxFrame
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.chat_backend import ChatBackend
from curr_reft.evaluation.backends.endpoint import MODEL_KEY, ChatEndpoint, chat_url
from curr_reft.evaluation.backends.generation import Backend, TransformersBackend
from curr_reft.evaluation.backends.vllm_backend import VllmBackend, check_vllm
from curr_reft.models.checkpoints import Checkpoint, find_checkpoints, recorded_box_frame
from curr_reft.models.decoding import Decoding
from curr_reft.processes import ProcessGroup


@dataclass(frozen=True)
class EvaluatedModel:
    """A model as a command that asks it sees it."""

    folder: str
    """Where its answers go below the output folder; empty for the output folder itself."""
    about: dict[str, Any]
    """What `scores.json` says of it."""
    settings: dict[str, Any]
    """What its answers depend on, apart from weights and rows."""
    box_frame: BoxFrame
    processor: ProcessorMixin | None
    digest: Callable[[], str]
    """Digest of the weights and all that belongs to them; of an endpoint, of its address and name."""
    load: Callable[[], Backend]


def find_models(flags: Namespace, processes: ProcessGroup, faults: dict[str, str]) -> list[EvaluatedModel]:
    """Every model that the flags name; no weights are loaded.

    Args:
        faults: Gets what is wrong with checkpoints of a run that cannot be used, by their names.

    Raises:
        InputError: for what is not there or cannot be used.
    """
    if flags.backend == "endpoint":
        return [_endpoint(flags, processes)]
    return [
        _local(checkpoint, flags, processes)
        for checkpoint in find_checkpoints(flags.model, flags.final_only, faults)
    ]


def _local(checkpoint: Checkpoint, flags: Namespace, processes: ProcessGroup) -> EvaluatedModel:
    if flags.backend == "vllm":
        check_vllm(checkpoint, processes)
    box_frame = flags.box_frame or recorded_box_frame(checkpoint) or "budget"
    processor = checkpoint.processor()
    dtype = flags.torch_dtype
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    penalty = flags.repetition_penalty or checkpoint.repetition_penalty()
    decoding = Decoding(flags.max_new_tokens, penalty, flags.temperature, flags.top_k)

    def load() -> Backend:
        if flags.backend == "vllm":
            return VllmBackend(checkpoint, processor, decoding, dtype, flags.tensor_parallel_size, flags.seed)
        return TransformersBackend(
            checkpoint, processor, decoding, flags.batch_size, dtype, flags.attn_implementation
        )

    return EvaluatedModel(
        folder=checkpoint.folder,
        about={
            "model": str(flags.model),
            "name": checkpoint.name,
            "step": checkpoint.step,
            "architecture": checkpoint.architecture(),
            "adapter_of": str(checkpoint.base) if checkpoint.base else None,
            "training_run": str(checkpoint.run) if checkpoint.run else None,
        },
        settings={
            **_shared_settings(flags, box_frame),
            "repetition_penalty": penalty,
            "dtype": dtype,
            "attention": flags.attn_implementation,
        },
        box_frame=box_frame,
        processor=processor,
        digest=checkpoint.digest,
        load=load,
    )


def _endpoint(flags: Namespace, processes: ProcessGroup) -> EvaluatedModel:
    url = chat_url(flags.model_url, "--model_url")
    if processes.world_size > 1:
        raise InputError("--backend endpoint: start it without torchrun; --threads asks in parallel")
    box_frame = flags.box_frame or "budget"
    if box_frame != "budget":
        raise InputError("--box_frame processed: an endpoint does not tell how its processor resizes images")
    endpoint = ChatEndpoint(url, flags.model_name, MODEL_KEY, flags.timeout, flags.attempts)
    decoding = Decoding(flags.max_new_tokens, 1.0, flags.temperature)
    return EvaluatedModel(
        folder="",
        about={
            "model": url,
            "name": flags.model_name,
            "step": None,
            "architecture": {},
            "training_run": None,
        },
        settings=_shared_settings(flags, box_frame),
        box_frame=box_frame,
        processor=None,
        digest=lambda: hashlib.sha256(f"{url} {flags.model_name}".encode()).hexdigest(),
        load=lambda: ChatBackend(endpoint, decoding, flags.threads),
    )


def _shared_settings(flags: Namespace, box_frame: BoxFrame) -> dict[str, Any]:
    return {
        "backend": flags.backend,
        "prompts": flags.prompts,
        "box_frame": box_frame,
        "max_new_tokens": flags.max_new_tokens,
        "temperature": flags.temperature,
        "top_k": flags.top_k,
    }
