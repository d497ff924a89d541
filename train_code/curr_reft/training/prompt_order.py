"""The order in which a stage's prompts come."""

from collections.abc import Iterator

from trl.trainer.utils import RepeatSampler


class PromptOrder(RepeatSampler):
    """TRL's sampler, each epoch shuffled anew by its seed plus the number of the epoch, as in the release.

    TRL draws on from one generator, so a run that goes on in its second epoch would see the first order.
    """

    def __init__(self, like: RepeatSampler, seed: int) -> None:
        """
        Args:
            like: The sampler that TRL made; all but the order is as there.
            seed: Of the first epoch.
        """
        counts = (like.mini_repeat_count, like.batch_size, like.repeat_count)
        super().__init__(like.data_source, *counts, shuffle=like.shuffle, seed=seed)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Give the order of an epoch, counted from 0, when next iterated over."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed + self._epoch)
        return super().__iter__()
