"""A decoding loop in which a row that has ended costs nothing more, greedy or sampled.

transformers' own loop computes every row of a batch until the last one ends, so one answer that never stops
makes all others of its batch 256 tokens long. It computes a prompt for each of its samples, here it is
computed once. And it draws a batch's tokens from one stream of random numbers; here each row has its own, so
its answer does not depend on its neighbours, nor on what a killed run had answered before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from curr_reft.models.growing_cache import let_grow

# What grows with the answer and has a row for each prompt, and the dimension of the rows.
_ROW_DIMENSIONS = {"attention_mask": 0, "mm_token_type_ids": 0, "position_ids": -2}


@dataclass(frozen=True)
class Decoding:
    """How answers are generated."""

    max_new_tokens: int
    repetition_penalty: float
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int = 0
    """Tokens that are drawn from; 0 is all of them. Endpoints know no such thing."""

    def chooser(self, seeds: Sequence[int]) -> "Chooser":
        """The choice of tokens for a batch whose rows have these seeds."""
        if self.temperature == 0:
            return lambda scores, rows, step: scores.argmax(dim=-1)
        return _Draws(seeds, self)


Chooser = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Takes scores `[going rows, vocabulary]`, these rows' places in the batch, and the step; gives tokens."""


class _Draws:
    """Draws from the distribution that the scores spell, each row by numbers of its own."""

    def __init__(self, seeds: Sequence[int], decoding: Decoding) -> None:
        self._decoding = decoding
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = decoding.max_new_tokens
        self._uniform = torch.stack(
            [torch.rand(shape, generator=each, dtype=torch.float64) for each in generators]
        )

    def __call__(self, scores: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        scores = scores.double() / self._decoding.temperature
        if 0 < self._decoding.top_k < scores.shape[-1]:
            least = scores.topk(self._decoding.top_k).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        cumulated = scores.softmax(dim=-1).cumsum(dim=-1)
        drawn = self._uniform[rows.cpu(), step].to(scores.device)[:, None] * cumulated[:, -1:]
        # The first token whose cumulated probability exceeds the number: one of probability 0 never does.
        return (cumulated <= drawn).sum(dim=-1)


def decode(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    generation_config: GenerationConfig,
    choose: Chooser,
    origins: torch.Tensor,
    **inputs: Any,
) -> torch.Tensor:
    """A loop for ``model.generate(custom_generate=functools.partial(decode, choose=…, origins=…))``.

    Args:
        input_ids: Prompts `[prompts, length]`, padded on the left.
        origins: Which prompt each answer is to, `[rows]`.

    Returns:
        Prompts and answers `[rows, length + longest answer]`; after the end of an answer follows padding.
    """
    stop_tokens = generation_config._eos_token_tensor
    most = generation_config.max_length - input_ids.shape[1]
    answers = input_ids.new_full((len(origins), most), int(generation_config._pad_token_tensor))
    prompts, texts = input_ids[origins], input_ids
    rows = torch.arange(len(origins), device=input_ids.device)
    for step in range(most):
        model_inputs = model.prepare_inputs_for_generation(
            texts, next_sequence_length=1 if step else None, is_first_iteration=step == 0, **inputs
        )
        outputs = model(**model_inputs)
        inputs = model._update_model_kwargs_for_generation(outputs, inputs)
        logits = outputs.logits[:, -1].float()
        if step == 0:
            let_grow(inputs["past_key_values"])
        if step == 0 and len(origins) > len(input_ids):
            texts, logits = prompts, logits[origins]
            _take(inputs, origins)
        tokens = choose(logits_processor(texts, logits), rows, step)
        answers[rows, step] = tokens
        texts = torch.cat([texts, tokens[:, None]], dim=1)
        going = (~torch.isin(tokens, stop_tokens)).nonzero()[:, 0]
        if len(going) == 0:
            return torch.cat([prompts, answers[:, : step + 1]], dim=1)
        if len(going) < len(rows):
            rows, texts = rows[going], texts[going]
            _take(inputs, going)
    return torch.cat([prompts, answers], dim=1)


def _take(inputs: dict[str, Any], rows: torch.Tensor) -> None:
    """Go on with these rows of cache and masks, in this order; a row may be there several times."""
    inputs["past_key_values"].batch_select_indices(rows)
    for name, dimension in _ROW_DIMENSIONS.items():
        if name in inputs:
            inputs[name] = inputs[name].index_select(dimension, rows)
