"""Greedy decoding in which a row that has ended costs nothing more.

transformers' own loop computes every row of a batch until the last one ends, so one answer that never stops
makes all others of its batch 256 tokens long.
"""

from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

# What grows with the answer and has a row for each prompt, and the dimension of the rows.
_ROW_DIMENSIONS = {"attention_mask": 0, "mm_token_type_ids": 0, "position_ids": -2}


def decode_greedily(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    generation_config: GenerationConfig,
    **inputs: Any,
) -> torch.Tensor:
    """A loop for ``model.generate(custom_generate=decode_greedily)``.

    Args:
        input_ids: Prompts `[rows, length]`, padded on the left.

    Returns:
        Prompts and answers `[rows, length + longest answer]`; after the end of an answer follows padding.
    """
    stop_tokens = generation_config._eos_token_tensor
    most = generation_config.max_length - input_ids.shape[1]
    answers = input_ids.new_full((len(input_ids), most), int(generation_config._pad_token_tensor))
    prompts, texts = input_ids, input_ids
    rows = torch.arange(len(input_ids), device=input_ids.device)
    for step in range(most):
        model_inputs = model.prepare_inputs_for_generation(
            texts, next_sequence_length=1 if step else None, is_first_iteration=step == 0, **inputs
        )
        outputs = model(**model_inputs)
        inputs = model._update_model_kwargs_for_generation(outputs, inputs)
        tokens = logits_processor(texts, outputs.logits[:, -1].float()).argmax(dim=-1)
        answers[rows, step] = tokens
        texts = torch.cat([texts, tokens[:, None]], dim=1)
        going = (~torch.isin(tokens, stop_tokens)).nonzero()[:, 0]
        if len(going) == 0:
            return torch.cat([prompts, answers[:, : step + 1]], dim=1)
        if len(going) < len(rows):
            rows, texts = rows[going], texts[going]
            inputs["past_key_values"].batch_select_indices(going)
            for name, dimension in _ROW_DIMENSIONS.items():
                if name in inputs:
                    inputs[name] = inputs[name].index_select(dimension, going)
    return torch.cat([prompts, answers], dim=1)
