#!/usr/bin/env python
"""Try what needs a GPU, in order of worth and within a time, and write gpu_check.json and gpu_check.md.

    bash scripts/gpu_check.sh [--output outputs/gpu_check] [--minutes 9]    # one GPU, 35 GB of disk
    bash scripts/gpu_check.sh --dry_run                                     # prints the commands
    bash scripts/gpu_check.sh --preset tiny                                 # what of it a CPU can do

The 3B's weights are random and made here, so that no network is needed. A part that fails is recorded, and
the next one goes on; one that would not fit the time left, or the GPU, is skipped. Both files are written
anew after each part. Not run on a GPU yet.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import logging
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.manifest import environment
from curr_reft.lifetime import own_children
from findings import planned_gib
from parts import Part, Trial
from running import DONE, KILLED, run

logger = logging.getLogger("gpu_check")

MINUTES = 9.0
# Of the time that a part may take: one that hangs is not to keep the others from their turn.
_MOST = 2
_MOST_MINUTES = 600


def versions() -> dict[str, Any]:
    """The machine and what is installed."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    optional = {
        name: importlib.metadata.version(name) if importlib.util.find_spec(name) else None
        for name in ("flash_attn", "vllm")
    }
    return {
        "gpu": gpu and gpu.name,
        "gpu_gib": gpu and round(gpu.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "date": time.strftime("%Y-%m-%d"),
        **optional,
        **environment(),
    }


def tried(part: Part, log: Path, deadline: float, gpu_gib: float) -> dict[str, Any]:
    """Run a part's commands until one fails, and say what came of it."""
    left = deadline - time.monotonic()
    if part.missing:
        return {"outcome": f"skipped: {part.missing}"}
    if part.gpu_gib > gpu_gib:
        return {"outcome": f"skipped: it wants a GPU of {part.gpu_gib} GiB, and this one has {gpu_gib:g}"}
    if left < part.seconds:
        return {"outcome": f"skipped: {left:.0f} s were left of the {part.seconds} s it may take"}
    ends = []
    for number, each in enumerate(part.commands):
        kill_at = part.kill_at if number == 0 else None
        limit = min(deadline - time.monotonic(), _MOST * part.seconds)
        ends.append(run(each, log, limit, kill_at))
        if ends[-1].outcome != (KILLED if kill_at else DONE):
            break
    peaks = [end.peak_gib for end in ends if end.peak_gib is not None]
    record = {
        "outcome": ends[-1].outcome,
        "seconds": [round(end.seconds, 1) for end in ends],
        "gpu_peak_gib": max(peaks, default=None),
        "memory_plan_gib": planned_gib(log),
    }
    if record["outcome"] == DONE:
        try:
            record["findings"] = part.findings(log)
        # A command that ended well and left other files than it should is a failure of its part alone.
        except (InputError, LookupError, TypeError, ValueError) as error:
            record["outcome"] = f"no findings: {type(error).__name__}: {error}"
    return record


def rounded(value: Any) -> Any:
    """The value with three significant digits in its numbers."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def table(record: dict[str, Any]) -> str:
    """The record as a table in Markdown."""
    about = {**record["versions"], **record["versions"]["packages"]}
    machine = ", ".join(f"{name} {value}" for name, value in about.items() if name != "packages")
    lines = [
        f"`scripts/gpu_check.sh --preset {record['preset']}`: {machine}",
        "",
        "| part | outcome | seconds | GPU memory, GiB | planned, GiB | findings |",
        "|---|---|---:|---:|---:|---|",
    ]
    for name, part in record["parts"].items():
        cells = [
            name,
            part["outcome"],
            " + ".join(f"{seconds:.0f}" for seconds in part.get("seconds", [])),
            *(f"{part[key]:.1f}" if part.get(key) else "" for key in ("gpu_peak_gib", "memory_plan_gib")),
            json.dumps(rounded(part["findings"])) if part.get("findings") else "",
        ]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def write(record: dict[str, Any], folder: Path) -> None:
    """Write both files."""
    for name, text in (("json", json.dumps(record, indent=2) + "\n"), ("md", table(record))):
        with replacing(folder / f"gpu_check.{name}") as file:
            file.write(text)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Try all parts, and end with 1 when one failed."""
    started = time.monotonic()
    parser = CommandParser(
        prog="scripts/gpu_check.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=("3b", "tiny"), default="3b")
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu_check"), help="an empty folder")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"all parts together (default: {MINUTES:g})"
    )
    parser.add_argument("--dry_run", action="store_true", help="print the commands, and run nothing")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder, has_gpu = arguments.output.resolve(), torch.cuda.is_available()
    if arguments.dry_run:
        for part in Trial(arguments.preset, folder, has_gpu=arguments.preset == "3b").parts():
            sys.stdout.write(f"== {part.name}, up to {part.seconds} s\n")
            sys.stdout.writelines(f"{shlex.join(each)}\n" for each in part.commands)
        return
    if arguments.preset == "3b" and not has_gpu:
        raise InputError("--preset 3b: needs a GPU; --preset tiny is what a CPU can do")
    if not 0 < arguments.minutes <= _MOST_MINUTES:
        raise InputError(f"--minutes {arguments.minutes:g}: expected more than 0, up to {_MOST_MINUTES}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--output {folder}: there is something; give another folder")
    own_children()
    deadline = started + 60 * arguments.minutes
    trial = Trial(arguments.preset, folder, has_gpu)
    record: dict[str, Any] = {"preset": arguments.preset, "versions": versions(), "parts": {}}
    # The tiny model has room on any.
    gpu_gib = record["versions"]["gpu_gib"] if arguments.preset == "3b" else math.inf
    write(record, folder)
    for number, part in enumerate(trial.parts()):
        log = folder / f"{number}.log"
        log.touch()
        record["parts"][part.name] = result = tried(part, log, deadline, gpu_gib)
        logger.info("== %s: %s", part.name, result["outcome"])
        write(record, folder)
        # Six stages would leave 45 GB.
        for weights in folder.glob("*/**/*.safetensors"):
            if trial.base not in weights.parents:
                weights.unlink()
    sys.stdout.write(table(record))
    outcomes = [part["outcome"] for part in record["parts"].values()]
    if not all(outcome == DONE or outcome.startswith("skipped") for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
