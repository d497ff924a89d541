"""Seconds, bytes, and how fast the machine multiplies."""

import ctypes
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class Meter:
    """Seconds and most bytes of what runs in each phase; phases may hold phases.

    Bytes are counted on top of what was there before: allocated ones on a GPU, else resident ones of the
    process, as Linux keeps them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.most: dict[str, int] = defaultdict(int)
        self._outer_peaks: list[int] = []

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        if self._outer_peaks:
            self._outer_peaks[-1] = max(self._outer_peaks[-1], _peak())
        else:
            _give_back()
        self._outer_peaks.append(0)
        _forget_peak()
        before = _held()
        started = _now()
        yield
        self.seconds[phase] += _now() - started
        peak = max(self._outer_peaks.pop(), _peak())
        self.most[phase] = max(self.most[phase], peak - before)
        if self._outer_peaks:
            self._outer_peaks[-1] = max(self._outer_peaks[-1], peak)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _held() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else _resident("VmRSS")


def _peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident("VmHWM")


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        # man 5 proc: sets the peak back to what is resident now.
        Path("/proc/self/clear_refs").write_text("5")


def _give_back() -> None:
    """Let the C library return memory that was freed, which would count as resident."""
    if not torch.cuda.is_available():
        ctypes.CDLL(None).malloc_trim(0)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def product_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large product of matrices, the best of several."""
    device, size = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 1536)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        started = _now()
        left @ right
        seconds.append(_now() - started)
    return 2 * size**3 / min(seconds)
