"""The order in which a stage's prompts come."""

from collections.abc import Iterator
from itertools import repeat

import torch
from trl.trainer.utils import RepeatSampler


class PromptOrder(RepeatSampler):
    """TRL's sampler, each epoch shuffled anew by its seed plus the number of the epoch, as in the release.

    TRL draws on from one generator, so a run that goes on in its second epoch would see the first order.
    """

    def __init__(self, like: RepeatSampler, seed: int, only_count: bool = False) -> None:
        """
        Args:
            like: The sampler that TRL made; all but the order is as there.
            seed: Of the first epoch.
            only_count: Give the first row as often as rows were due, to a loader that merely counts steps
                while the rows are had from `after`.
        """
        counts = (like.mini_repeat_count, like.batch_size, like.repeat_count)
        super().__init__(like.data_source, *counts, shuffle=like.shuffle, seed=seed)
        self._only_count = only_count
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Give the order of an epoch, counted from 0, when next iterated over."""
        self._epoch = epoch

    def after(self, position: int, count: int) -> list[int]:
        """The next `count` prompts, by row, when `position` were drawn before; one epoch follows another.

        Each epoch has all rows, so that the order is the same for rollouts of any size.
        """
        rows: list[int] = []
        while len(rows) < count:
            epoch, start = divmod(position + len(rows), self.num_samples)
            rows += self._shuffled(epoch)[start : start + count - len(rows)]
        return rows

    def _shuffled(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.num_samples))
        generator = torch.Generator().manual_seed(self.seed + epoch)
        return torch.randperm(self.num_samples, generator=generator).tolist()

    def __iter__(self) -> Iterator[int]:
        if self._only_count:
            return repeat(0, len(self))
        if self.shuffle:
            self.generator.manual_seed(self.seed + self._epoch)
        return super().__iter__()
