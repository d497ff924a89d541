"""Commands with a limit of time, and the most memory of the GPU that they took."""

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

DONE, KILLED = "done", "killed"
_WAIT = 0.5
_SAID = 400


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    outcome: str
    """`DONE`; `KILLED`, as was wanted; else what went wrong."""
    seconds: float
    peak_gib: float | None
    """Most memory of the GPU on top of what was taken before, as its driver counts it; `None` without one."""


def run(command: Sequence[str], log: Path, limit: float, kill_at: Path | None = None) -> Ended:
    """Run a command, and end it with all that it started after `limit` seconds; what it prints goes to `log`.

    Args:
        kill_at: A file; when it is there, the command is killed.
    """
    logger.info("%s", " ".join(command))
    started, before = time.monotonic(), gpu_gib()
    peak, outcome = before, None
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while outcome is None and process.poll() is None:
            if time.monotonic() - started > limit:
                outcome = f"no time left after {limit:.0f} s"
            elif kill_at is not None and kill_at.exists():
                outcome = KILLED
            else:
                time.sleep(_WAIT)
                peak = max(peak, now) if (now := gpu_gib()) is not None and peak is not None else peak
        if outcome is not None:
            _kill(process)
    if outcome is None and process.returncode:
        outcome = f"exit code {process.returncode}: {_last_line(log)}"
    elif outcome is None:
        outcome = DONE if kill_at is None else "ended before it could be killed"
    return Ended(outcome, time.monotonic() - started, None if before is None else peak - before)


def gpu_gib() -> float | None:
    """Memory in use on the first GPU, in GiB, `None` without one."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        query.append(f"--id={visible.split(',')[0]}")
    try:
        used = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return float(used.split()[0]) / 1024
    # Parts of a GPU, and GPUs that share the machine's memory, have no such number.
    except (FileNotFoundError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


def _kill(process: subprocess.Popen) -> None:
    # torchrun's scripts are in sessions of their own, so that a group's signal would not reach them.
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        # One may have ended meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").split("\n")
    said = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
    return said[-1][:_SAID] if said else "it said nothing"
