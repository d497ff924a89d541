#!/usr/bin/env python
"""What an optimizer step costs here and in TRL: same model, rows and seeds, in turns, in one run.

    python scripts/benchmarks/step                  # small shapes, for any CPU: ten minutes on 2 cores
    python scripts/benchmarks/step --preset 3b      # shapes of Qwen2.5-VL-3B, for one large GPU

The policy pass (forward and backward of the loss) is measured for every group size and completion length of
the preset, the whole step (rollout, reference, policy, update) for the first alone: by `trl.GRPOTrainer` as
it comes, by `SharedPrefixTrainer`, and by the latter with one part of it switched off at a time; "backward"
is a part of "policy". Weights are random, the learning rate is 0, and no answer ends before its length. The
fastest of the repeats counts. `--check` exits with 1 when a target is missed; the 3b preset has none.
"""

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from rich.console import Console
from rich.table import Table

from curr_reft.errors import command
from curr_reft.files.cli import CommandParser
from measure import PARTS, TRAINERS, Measurements, measure
from meters import Meter, product_rate
from shapes import PRESETS, Preset, Shape, Targets

PHASES = ("rollout", "reference", "policy", "backward", "update", "step")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument(
        "--shape", type=int, nargs=2, metavar=("GROUP", "TOKENS"), help="the only one to measure"
    )
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each (default 2)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--attn_implementation", default="sdpa", help="TRL's, and our vision tower's")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    if options.shape and min(options.shape) < 2:
        parser.error("--shape must be two numbers of at least 2")
    if options.preset == "3b" and not torch.cuda.is_available():
        parser.error("--preset 3b needs a GPU")
    return options


def by_shape(values: dict[Shape, Any]) -> dict[str, dict[str, Any]]:
    """Values by group size and then completion length, as JSON has them."""
    nested: dict[str, dict[str, Any]] = {}
    for (group, length), value in values.items():
        nested.setdefault(str(group), {})[str(length)] = value
    return nested


def seconds_of(meters: dict[str, list[Meter]], phase: str) -> dict[str, list[float]]:
    """Seconds of a phase, by who did it."""
    return {name: [meter.seconds[phase] for meter in each] for name, each in meters.items()}


def bytes_of(meters: dict[str, list[Meter]], phase: str) -> dict[str, int]:
    """Most bytes of a phase, by who did it."""
    return {name: max(meter.most[phase] for meter in each) for name, each in meters.items()}


def speedup(seconds: dict[str, list[float]]) -> float:
    """Of the fastest of each: what else the machine does only ever adds to the others."""
    return min(seconds["TRL"]) / min(seconds["ours"])


def spread(seconds: dict[str, list[float]]) -> str:
    """Least and largest ratio of runs that followed one another."""
    ratios = [theirs / ours for theirs, ours in zip(seconds["TRL"], seconds["ours"], strict=True)]
    return f"{min(ratios):.2f}-{max(ratios):.2f}"


def summary(preset: Preset, options: argparse.Namespace, found: Measurements) -> dict[str, Any]:
    """What `--json` prints."""
    rate = product_rate(preset.dtype)
    first = preset.shapes[0]
    passes = {shape: seconds_of(meters, "policy") for shape, meters in found.passes.items()}
    memory = {shape: bytes_of(meters, "policy") for shape, meters in found.passes.items()}
    steps = seconds_of(found.steps, "step")
    return {
        "preset": options.preset,
        "machine": machine(),
        "policy_speedup": by_shape({shape: speedup(seconds) for shape, seconds in passes.items()}),
        "step_speedup": by_shape({first: speedup(steps)}),
        "memory_ratio": by_shape({shape: each["ours"] / each["TRL"] for shape, each in memory.items()}),
        "max_logp_diff": found.max_logp_diff,
        "policy_seconds": by_shape(passes),
        "policy_bytes": by_shape(memory),
        "policy_flops_ratio": by_shape(
            {shape: flops["TRL"] / flops["ours"] for shape, flops in found.flops.items()}
        ),
        "policy_share_of_limit": by_shape(
            {shape: flops["ours"] / rate / min(passes[shape]["ours"]) for shape, flops in found.flops.items()}
        ),
        "step_seconds": {phase: seconds_of(found.steps, phase) for phase in PHASES},
        "step_bytes": {phase: bytes_of(found.steps, phase) for phase in PHASES},
        "step_share_of_limit": found.step_flops / rate / min(steps["ours"]),
        "matrix_product_flops_per_second": rate,
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def missed(preset: Preset, results: dict[str, Any]) -> list[str]:
    """The preset's targets that were not reached, each with its number."""
    faults = []
    for name, least in (("policy_speedup", True), ("step_speedup", True), ("memory_ratio", False)):
        for (group, length), target in getattr(preset.targets, name).items():
            value = results[name][str(group)][str(length)]
            if value < target if least else value > target:
                faults.append(
                    f"{name}, {group} completions of {length} tokens: {value:.2f}, target"
                    f" {'at least' if least else 'at most'} {target:g}"
                )
    return faults


def show(results: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    machine_words = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    console.print(f"preset {results['preset']}; {machine_words}")
    table = Table(title="Policy pass: forward and backward of the loss")
    for column in ("group", "tokens", "TRL s", "ours s", "speed-up", "spread", "FLOPs", "memory", "of limit"):
        table.add_column(column, justify="right")
    for group, lengths in results["policy_seconds"].items():
        for length, seconds in lengths.items():
            table.add_row(
                group,
                length,
                *(f"{min(seconds[name]):.2f}" for name in TRAINERS),
                f"{results['policy_speedup'][group][length]:.2f}x",
                spread(seconds),
                f"{results['policy_flops_ratio'][group][length]:.2f}x",
                f"{results['memory_ratio'][group][length]:.0%}",
                f"{results['policy_share_of_limit'][group][length]:.0%}",
            )
    console.print(table)

    ((group, lengths),) = results["step_speedup"].items()
    ((length, ratio),) = lengths.items()
    table = Table(title=f"Optimizer step, {group} completions of {length} tokens: seconds (peak memory, GB)")
    for column in ("", *PHASES):
        table.add_column(column, justify="right")
    for name in [*TRAINERS, *PARTS]:
        cells = [
            f"{min(results['step_seconds'][phase][name]):.2f}"
            f" ({results['step_bytes'][phase][name] / 1e9:.2f})"
            for phase in PHASES
        ]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"step {ratio:.2f} times as fast (spread {spread(results['step_seconds']['step'])});"
        f" log-probabilities differ by {results['max_logp_diff']:.1e} at most;"
        f" {results['matrix_product_flops_per_second'] / 1e9:,.0f} GFLOP/s in products of matrices, by which"
        f" our step reaches {results['step_share_of_limit']:.0%} of the limit"
    )


@command
def main() -> None:
    """Measure and print."""
    options = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    preset = PRESETS[options.preset]
    if options.shape:
        preset = replace(preset, shapes=(tuple(options.shape),), targets=Targets({}, {}, {}))
    # DeepSpeed greets on standard output, which belongs to the results.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        results = summary(preset, options, measure(preset, options, Path(folder)))
    faults = missed(preset, results)
    if options.json:
        json.dump({**results, "missed": faults}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        show(results, Console(width=None if sys.stdout.isatty() else 140))
    for fault in faults:
        logging.getLogger("benchmark_step").warning("missed: %s", fault)
    if options.check and faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
