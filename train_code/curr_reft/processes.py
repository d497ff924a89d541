"""The process group of an evaluation: torchrun starts them, the first one plans and scores."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed

from curr_reft.errors import InputError

T = TypeVar("T")
# One process may have nothing to do while another answers for hours.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those of an evaluation."""

    rank: int = 0
    world_size: int = 1

    def shared(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them; an `InputError` reaches all, too."""
        if self.world_size == 1:
            return make()
        outcome: list[T | InputError | None] = [None]
        if self.rank == 0:
            try:
                outcome = [make()]
            except InputError as error:
                outcome = [error]
        torch.distributed.broadcast_object_list(outcome)
        if isinstance(outcome[0], InputError):
            raise outcome[0]
        return outcome[0]

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world_size > 1:
            torch.distributed.barrier()


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The processes that torchrun started, each with its GPU; a single one without torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if count == 1:
        yield ProcessGroup()
        return
    # What they say to one another is small, and gloo has a clock that can be set this long.
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield ProcessGroup(torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()
