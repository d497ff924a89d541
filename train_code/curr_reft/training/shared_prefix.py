"""TRL's `GRPOTrainer` with each prompt of a group computed once, in rollouts and in learning."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from trl import GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from curr_reft.models.packing import add_packed_forward, pack, unsupported_reason
from curr_reft.models.packing_budget import split_further, split_rows
from curr_reft.models.padded_rows import PaddedRow, groups_of, padded, rows_of
from curr_reft.models.vision_tower import quicken
from curr_reft.training.rollouts import distinct, once_per_image, once_per_prompt

logger = logging.getLogger(__name__)


class SharedPrefixTrainer(GRPOTrainer):
    """GRPO with the results of TRL's trainer up to rounding, at a fraction of its cost.

    Args:
        shared_prefix: Compute a prompt once for all its completions; off, everything is done TRL's way.
        max_packed_tokens: Most tokens of prompts and completions in memory at a time; what does not fit is
            computed in several parts, each with the prompt, and once more in the backward pass.

    A rollout knows a prompt again by its tokens and by its images being the same objects, as TRL's sampler
    hands them on from datasets that keep what they decode (`curr_reft.data.dataset`).
    """

    def __init__(
        self, *args: Any, shared_prefix: bool = True, max_packed_tokens: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._max_packed_tokens = max_packed_tokens
        self.shares_prefix = shared_prefix and self._share_prefix()
        self.shares_images = self.shares_prefix
        self.shares_rollouts = self.shares_prefix and self._share_rollouts()

    def _share_rollouts(self) -> bool:
        """Whether a rollout is plain sampling by transformers, which ours does; says so when it is not."""
        args = self.args
        if self.use_vllm or self.use_transformers_continuous_batching:
            return False
        # Where weights are left scattered, all processes must go on until the last has ended.
        scattered = self.is_deepspeed_enabled and not args.ds3_gather_for_generation
        special = args.generation_kwargs or args.cache_implementation
        if scattered or self.is_fsdp_enabled or special:
            self._say(
                logging.WARNING,
                "--shared_prefix: rollouts compute a prompt for each completion, because of"
                " --generation_kwargs, --cache_implementation, --ds3_gather_for_generation false or FSDP",
            )
            return False
        return True

    def _say(self, level: int, message: str, *values: Any) -> None:
        if self.accelerator.is_main_process:
            logger.log(level, message, *values)

    def _share_prefix(self) -> bool:
        """Teach policy and reference to compute a group in one pass; says why when they cannot."""
        policy = self._base_model()
        reason = unsupported_reason(policy)
        if reason is not None:
            self._say(
                logging.WARNING,
                "--shared_prefix: each completion is computed with its prompt, because %s",
                reason,
            )
            return False
        vision = policy.config.vision_config._attn_implementation
        reference = [] if self.ref_model is None else [self.accelerator.unwrap_model(self.ref_model)]
        for model in [policy, *reference]:
            quicken(model)
            add_packed_forward(model)
        self._say(
            logging.INFO,
            "--shared_prefix: a prompt is computed once for its completions; the language model attends by"
            " torch's sdpa, the vision tower by %s",
            vision,
        )
        return True

    def _base_model(self) -> PreTrainedModel:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    # Rollouts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        with self._each_image_once():
            return super()._generate_and_score_completions(inputs)

    def _each_image_once(self) -> AbstractContextManager[None]:
        return once_per_image(self.processing_class) if self.shares_images else nullcontext()

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: list | None,
        multimodal_fields: dict,
        *args: Any,
        **kwargs: Any,
    ) -> tuple:
        if not self.shares_rollouts:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *args, **kwargs)
        row_images = [own or [] for own in images or [None] * len(prompt_ids)]
        keys = [(ids, [id(image) for image in own]) for ids, own in zip(prompt_ids, row_images, strict=True)]
        firsts, origins = distinct(keys)
        with once_per_prompt(self._base_model(), origins):
            return super()._generate_single_turn(
                [prompt_ids[index] for index in firsts],
                images and [images[index] for index in firsts],
                _rows_of_fields(multimodal_fields, [len(own) for own in row_images], firsts),
                *args,
                **kwargs,
            )

    # Learning

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if not (self.shares_prefix and self.model.training):
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            batches = split_tensor_dict(_shuffle_groups(batch, self.num_generations), steps)
            self._buffered_inputs = [unsplit_pixel_values_by_grid(batch) for batch in batches]
        return self._buffered_inputs[self._step % steps]

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **fields: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probabilities and entropies of completions `[rows, logits_to_keep]`, a prompt computed once."""
        if not self.shares_prefix:
            return super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                compute_aux_loss=compute_aux_loss,
                **fields,
            )
        rows = rows_of(input_ids, attention_mask, logits_to_keep, fields)
        batch_size = batch_size or len(rows)
        rope_index = self._base_model().model.get_rope_index
        outputs = []
        together = 0
        for start in range(0, len(rows), batch_size):
            parts = self._parts(rows[start : start + batch_size])
            together += sum(len(group) for part in parts for group in groups_of(part) if len(group) > 1)
            packs = [pack(part, rope_index) for part in parts]
            labels = torch.cat([inputs["shift_labels"] for inputs in packs], dim=1)
            with self.accelerator.autocast():
                outputs.append(model(packs=packs, shift_labels=labels, fused_lm_head=True))
        mask = attention_mask[:, -logits_to_keep:]
        log_probs = padded(torch.cat([output.log_probs[0] for output in outputs]), mask)
        if not compute_entropy:
            return log_probs, None, None
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["shared_prefix/packed"].append(together / len(rows))
        return log_probs, padded(torch.cat([output.entropy[0] for output in outputs]), mask), None

    def _parts(self, rows: Sequence[PaddedRow]) -> list[list[PaddedRow]]:
        """The rows of each packed sequence of one forward pass, as many sequences on every process."""
        parts = split_rows(rows, self._max_packed_tokens)
        if self._max_packed_tokens is not None:
            count = torch.tensor([len(parts)], device=self.accelerator.device)
            parts = split_further(parts, int(self.accelerator.gather(count).max()))
        return parts


def _shuffle_groups(batch: dict[str, Any], group_size: int) -> dict[str, Any]:
    """Shuffle a batch's groups, where TRL shuffles single completions and so parts what shares a prompt."""
    rows = len(batch["prompt_ids"])
    if rows % group_size:
        group_size = 1  # groups are spread over processes
    # As many random numbers as TRL draws, so that a run samples the same completions with and without.
    order = torch.randperm(rows)
    firsts = order[order % group_size == 0]
    order = (firsts[:, None] + torch.arange(group_size)).flatten()

    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [value[index] for index in order]
        return value if value is None or value.ndim == 0 else value[order]

    return {name: shuffled(value) for name, value in batch.items()}


def _rows_of_fields(fields: dict[str, Any], num_images: list[int], rows: Sequence[int]) -> dict[str, Any]:
    """A processor's outputs for these rows alone."""
    if "pixel_values" not in fields:
        return {name: [values[row] for row in rows] for name, values in fields.items()}
    split = split_pixel_values_by_grid({**fields, "num_images": num_images})
    chosen = {name: [values[row] for row in rows] for name, values in split.items() if name != "num_images"}
    return unsplit_pixel_values_by_grid(chosen)
