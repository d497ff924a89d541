"""Answers to requests. Backends differ in who computes them, and agree in all else.

A backend is made once per checkpoint, when there is something to answer, and has its answers saved as they
come.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from curr_reft.data.prompts import Request, image_token_count, prompt_token_counts
from curr_reft.evaluation.backends.batches import batches_of
from curr_reft.evaluation.backends.memory import in_halves
from curr_reft.evaluation.backends.model_inputs import model_inputs
from curr_reft.models.checkpoints import Checkpoint
from curr_reft.models.decoding import Decoding, decode
from curr_reft.models.merge import merged_model
from curr_reft.models.vision_tower import quicken
from curr_reft.models.weights import load
from curr_reft.processes import ProcessGroup

# Prompt tokens of a batch, padding counted: what a CPU's caches hold, and what a GPU takes beside a 3B model.
_BATCH_TOKENS = {"cpu": 12288, "cuda": 65536}


class Completion(NamedTuple):
    """A model's answer."""

    text: str
    new_tokens: int | None
    """Tokens generated, the end of the answer counted; `None` where a server does not say."""
    truncated: bool
    """Whether the limit of tokens ended it."""


Save = Callable[[list[tuple[Request, Completion]]], None]
"""Takes some requests with their answers; threads may call it."""


class Backend(Protocol):
    """What computes answers."""

    def answer(self, requests: Sequence[Request], processes: ProcessGroup, save: Save) -> None:
        """Compute this process's share of the answers and save them as they are ready, in any order."""


class TransformersBackend:
    """A model in this process; each process of several answers what is asked about every n-th image."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        processor: ProcessorMixin,
        decoding: Decoding,
        batch_size: int,
        dtype: str,
        attention: str | None,
    ) -> None:
        self._batch_tokens = _BATCH_TOKENS["cuda" if torch.cuda.is_available() else "cpu"]
        self._processor = processor
        self._decoding = decoding
        self._batch_size = batch_size
        self._model = load_model(checkpoint, dtype, attention)
        self._inputs = model_inputs(processor, self._model)
        # Passed to `generate` whole, which takes 0.1 s to look for such settings elsewhere when it gets none.
        self._settings = self._model.generation_config
        self._settings.update(
            max_new_tokens=decoding.max_new_tokens,
            repetition_penalty=decoding.repetition_penalty,
            do_sample=False,
            top_k=None,
            top_p=None,
            temperature=None,
        )
        if self._settings.eos_token_id is None:
            self._settings.eos_token_id = processor.tokenizer.eos_token_id
        self._stop_tokens = torch.tensor(self._settings.eos_token_id).reshape(-1)

    def answer(self, requests: Sequence[Request], processes: ProcessGroup, save: Save) -> None:
        """Batches of like length, the longest first, in which requests about one image stand together.

        Samples of one prompt come one after the other, and it is computed once for those in a batch.

        The next batch's images are decoded and resized while the model answers the one before, which by
        then has seen its own: none is prepared twice.
        """
        mine = self._batches(requests, processes)
        with ThreadPoolExecutor(1) as ahead:
            prepared = [ahead.submit(self._inputs.prepare, _prompts(batch)) for batch in mine[:1]]
            for number, batch in enumerate(mine):
                inputs = self._inputs.finish(prepared.pop().result())
                if number + 1 < len(mine):
                    prepared.append(ahead.submit(self._inputs.prepare, _prompts(mine[number + 1])))
                save(list(zip(batch, self._complete(batch, inputs), strict=True)))

    def _batches(self, requests: Sequence[Request], processes: ProcessGroup) -> list[list[Request]]:
        # One count for all samples of a query.
        images = {
            request.content: None
            if request.shown is None
            else image_token_count(request.shown, self._processor)
            for request in requests
        }
        prompts = {request.content: request.prompt for request in requests}
        counts = prompt_token_counts(self._processor, list(prompts.values()), list(images.values()))
        lengths = dict(zip(prompts, counts, strict=True))
        return batches_of(requests, lengths, images, self._batch_size, self._batch_tokens, processes)

    def _complete(self, batch: Sequence[Request], inputs: BatchFeature) -> list[Completion]:
        def complete(requests: Sequence[Request]) -> list[Completion]:
            if len(requests) == len(batch):
                return self._generate(inputs, requests)
            return self._generate(self._inputs.finish(self._inputs.prepare(_prompts(requests))), requests)

        return in_halves(complete, batch, "rows")

    @torch.inference_mode()
    def _generate(self, inputs: BatchFeature, batch: Sequence[Request]) -> list[Completion]:
        places = {
            content: place
            for place, content in enumerate(dict.fromkeys(request.content for request in batch))
        }
        origins = torch.tensor([places[request.content] for request in batch], device=self._model.device)
        choose = self._decoding.chooser([request.seed for request in batch])
        outputs = self._model.generate(
            **inputs.to(self._model.device),
            generation_config=self._settings,
            custom_generate=functools.partial(decode, choose=choose, origins=origins),
        )
        tokens = outputs[:, inputs["input_ids"].shape[1] :].cpu()
        texts = self._processor.tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        stops = torch.isin(tokens, self._stop_tokens)
        ended = stops.any(dim=1)
        lengths = torch.where(ended, stops.int().argmax(dim=1) + 1, tokens.shape[1])
        return [
            Completion(text, length, not end)
            for text, length, end in zip(texts, lengths.tolist(), ended.tolist(), strict=True)
        ]


def _prompts(batch: Sequence[Request]) -> list[Request]:
    """A request for each prompt; others of the batch are samples of the same."""
    return list({request.content: request for request in batch}.values())


def load_model(checkpoint: Checkpoint, dtype: str, attention: str | None) -> PreTrainedModel:
    """Load a checkpoint for inference on this process's GPU, or on the CPU; an adapter is merged.

    Raises:
        InputError: when the weights cannot be read, or are not those that the configuration asks for.
    """
    options = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    if checkpoint.base is None:
        model = load(checkpoint.weights, "--model", **options)
    else:
        model = merged_model(checkpoint, "--model", **options)
    quicken(model)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
