"""Groups without signal are drawn again (``--dynamic_sampling``), after DAPO, arXiv 2503.14476, section 3.2.

A group whose rewards are all equal has no advantages, so a step that draws it learns from fewer groups than
it was meant to. Here a rollout is filled in rounds. Each draws the next prompts of the stream
(`PromptOrder.after`), samples and scores their groups, and keeps those with signal, until there are as many
as the rollout holds or `--max_resampling` more rounds were drawn. All processes come to the same decisions,
since all see all rewards; which prompts a round draws does not depend on how many processes there are.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.data_utils import prepare_multimodal_messages

from curr_reft.errors import InputError
from curr_reft.training.prompt_order import PromptOrder
from curr_reft.training.shared_prefix import SharedPrefixTrainer

logger = logging.getLogger(__name__)

_POSITION = "DynamicSampling"
"""Where a checkpoint's `trainer_state.json` says, among what callbacks keep, how far the stream was drawn."""
# Between rewards that are equal but for the rounding of their sum.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with its completions; every list has an item for each completion."""

    row: int
    """The prompt's, in the training set."""
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    completions: list[Any]
    log_probs: list[list[float]] | None
    """Those that vLLM sampled with."""
    extra: dict[str, list[Any]]
    """Columns that rewards have added to the table of completions."""
    rewards: torch.Tensor | None = None
    """`[completions, reward functions]`, NaN where a function leaves a completion to the others."""


def has_signal(rewards: torch.Tensor, weights: torch.Tensor, each_apart: bool = False) -> torch.Tensor:
    """Which groups have rewards that differ, `[groups]`.

    Args:
        rewards: `[groups, completions, reward functions]`, NaN for none.
        weights: Of the reward functions.
        each_apart: Whether each function's rewards are normalised by themselves, not their sum.
    """
    known = rewards * weights
    if not each_apart:
        known = known.nansum(dim=2, keepdim=True).where(~known.isnan().all(dim=2, keepdim=True), math.nan)
    highest = known.where(~known.isnan(), -math.inf).amax(dim=1)
    lowest = known.where(~known.isnan(), math.inf).amin(dim=1)
    return (highest - lowest > _ROUNDING).any(dim=1)


def next_draw(wanted: int, kept: int, drawn: int) -> int:
    """How many prompts the next round draws: as many as should do at the share kept so far, at most `wanted`.

    Args:
        wanted: Groups that the rollout holds.
        kept: Groups with signal among those `drawn`, fewer than `wanted`.
    """
    return min(wanted, -(-(wanted - kept) * drawn // kept)) if kept else wanted


def dealt(rows: Sequence[int], processes: int, process: int) -> list[int]:
    """One process's part of a round, as long as every other's: the last row fills up what is missing.

    The parts follow one another in the order of `rows`, so that what fills up stands at the end.
    """
    each = -(-len(rows) // processes)
    filled = [*rows, *[rows[-1]] * (each * processes - len(rows))]
    return filled[process * each : (process + 1) * each]


class DynamicSamplingTrainer(SharedPrefixTrainer):
    """GRPO whose rollouts hold groups with signal alone, as far as these are found.

    What is learned from is handed to TRL as if it had just been sampled and scored. Rewards, advantages and
    completions that TRL logs are therefore those of the groups learned from; lengths of completions, and what
    rewards log by themselves (`accuracy/TASK`), are of all that were drawn, of which `dynamic_sampling/…` has
    the share kept, the prompts, the rounds after the first, and the mean reward. Evaluation is left alone.

    When rounds are used up before the rollout is full, it is filled with groups without signal, the first
    drawn first: their advantages are zero, and with `beta` they still hold the policy to the reference. When
    not one group has signal, training ends.

    Args:
        max_resampling: Rounds after the first, `None` to keep what the first one gives.
    """

    _prompt_order: PromptOrder

    def __init__(self, *args: Any, max_resampling: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_resampling = max_resampling
        self._chosen: list[Group] | None = None
        """Of all processes, while TRL is handed what has been sampled."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._max_resampling is None or not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self._chosen = self._choose(len(inputs) // self.num_generations * self.accelerator.num_processes)
        try:
            own = self._inputs([group.row for group in self._own(self._chosen)])
            return super()._generate_and_score_completions(own)
        finally:
            self._chosen = None

    def _choose(self, wanted: int) -> list[Group]:
        """The groups of a rollout, the same on every process: those with signal first, each as drawn.

        Raises:
            InputError: when rounds are used up and no group has signal.
        """
        kept: list[Group] = []
        others: list[Group] = []
        rounds = -1
        while len(kept) < wanted and rounds < self._max_resampling:
            rounds += 1
            drawn = self._draw(next_draw(wanted, len(kept), len(kept) + len(others)))
            rewards = torch.stack([group.rewards for group in drawn])
            apart = self.multi_objective_aggregation == "normalize_then_sum"
            signal = has_signal(rewards, self.reward_weights.to(rewards.device), apart).tolist()
            kept += [group for group, learns in zip(drawn, signal, strict=True) if learns]
            others += [group for group, learns in zip(drawn, signal, strict=True) if not learns]
        means = [self._mean_reward(group) for group in (*kept, *others)]
        if not kept:
            raise InputError(self._without_signal(means))
        if len(kept) < wanted:
            self._say(
                logging.WARNING,
                "step %d: %d of %d groups have signal after %d rounds more (--max_resampling)",
                *(self.state.global_step + 1, len(kept), wanted, rounds),
            )
        metrics = {
            "kept": len(kept) / len(means),
            "prompts": len(means),
            "rounds": rounds,
            "reward": sum(means) / len(means),
        }
        for name, value in metrics.items():
            self._metrics["train"][f"dynamic_sampling/{name}"].append(float(value))
        return [*kept, *others][:wanted]

    def _draw(self, count: int) -> list[Group]:
        """The next `count` groups of the stream, sampled and scored by all processes together."""
        # In the trainer's state, which a checkpoint holds; it has no other place for what is not its own.
        state = self.state.stateful_callbacks.setdefault(_POSITION, {"args": {}, "attributes": {"drawn": 0}})
        rows = self._prompt_order.after(state["attributes"]["drawn"], count)
        state["attributes"]["drawn"] += count
        own = dealt(rows, self.accelerator.num_processes, self.accelerator.process_index)
        inputs = self._inputs(own)
        prompts = [prepare_multimodal_messages(row["prompt"], images=[row["image"]]) for row in inputs]
        with self._each_image_once():
            prompt_ids, completion_ids, _, completions, log_probs, *_ = self._generate(prompts)
        rewards = self._calculate_rewards(inputs, prompts, completions, completion_ids)
        groups = [
            Group(
                row,
                *(prompt_ids[of_row], completion_ids[of_row], completions[of_row]),
                None if log_probs is None else log_probs[of_row],
                {column: values[of_row] for column, values in self._pending_extra_logs.items()},
            )
            for row, of_row in zip(own, self._places(len(own)), strict=True)
        ]
        self._pending_extra_logs.clear()
        scored = zip(gather_object(groups), rewards.split(self.num_generations), strict=True)
        return [replace(group, rewards=of_group) for group, of_group in scored][:count]

    def _inputs(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The rows as TRL's sampler gives them, each once for every completion."""
        return [row for index in rows for row in [self.train_dataset[index]] * self.num_generations]

    def _places(self, groups: int) -> list[slice]:
        size = self.num_generations
        return [slice(start, start + size) for start in range(0, groups * size, size)]

    def _own(self, groups: Sequence[Group]) -> Sequence[Group]:
        each = len(groups) // self.accelerator.num_processes
        return groups[self.accelerator.process_index * each :][:each]

    def _mean_reward(self, group: Group) -> float:
        sums = (group.rewards * self.reward_weights.to(group.rewards.device)).nansum(dim=1)
        return sums.mean().item()

    def _without_signal(self, rewards: Sequence[float]) -> str:
        counts = Counter(f"{reward:g}" for reward in rewards).most_common(3)
        shares = ", ".join(f"{count / len(rewards):.0%} have reward {reward}" for reward, count in counts)
        return (
            f"--dynamic_sampling: step {self.state.global_step + 1}: of {len(rewards)} prompts in"
            f" {self._max_resampling + 1} rounds none has a group whose rewards differ ({shares}): leave out"
            " what is solved by --filter_solved, take other rows, or raise --temperature, --num_generations"
            " or --max_resampling"
        )

    # What TRL is handed instead of sampling and scoring again.

    def _generate(self, prompts: list) -> tuple:
        if self._chosen is None:
            return super()._generate(prompts)
        own = self._own(self._chosen)

        def joined(name: str) -> list[Any]:
            return [item for group in own for item in getattr(group, name)]

        log_probs = None if own[0].log_probs is None else joined("log_probs")
        texts = joined("prompt_ids"), joined("completion_ids"), None, joined("completions"), log_probs
        return *texts, {}, None, []

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self._chosen is None:
            return super()._calculate_rewards(*args, **kwargs)
        own = self._own(self._chosen)
        for column in {column for group in own for column in group.extra}:
            for group in own:
                values = group.extra.get(column, [None] * self.num_generations)
                self._pending_extra_logs[column].extend(values)
        return torch.cat([group.rewards for group in self._chosen])
