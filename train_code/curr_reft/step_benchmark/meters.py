"""Seconds, bytes, and how fast the machine multiplies."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Seconds of what runs in each phase, those of phases within included."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        _wait()
        started = time.perf_counter()
        yield
        _wait()
        self.seconds[phase] += time.perf_counter() - started


class Scale:
    """The most bytes that what runs in each phase has allocated at a time, on top of what was there."""

    def __init__(self) -> None:
        self.most: dict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            yield
            most = torch.cuda.max_memory_allocated() - before
        else:
            activities = [torch.profiler.ProfilerActivity.CPU]
            with torch.profiler.profile(
                activities=activities, profile_memory=True, acc_events=True
            ) as profile:
                yield
            held = most = 0
            for event in profile.profiler.kineto_results.events():
                if event.name() == "[memory]":
                    held += event.nbytes()
                    most = max(most, held)
        self.most[phase] = max(self.most[phase], most)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def product_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large product of matrices, the best of several."""
    device, size = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 1536)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        clock = Clock()
        with clock("product"):
            left @ right
        seconds.append(clock.seconds["product"])
    return 2 * size**3 / min(seconds)
