"""What rewards cost: `python benchmarks/rewards.py [--steps N]`.

Prints rows per second per stage and variant (on `tests/golden`), scoring time over the length of hostile
texts with the exponent it grows by, and the share of a training step that rewards take with the tiny model.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from curr_reft.answers import maths
from curr_reft.data.shapes_dataset import write_world
from curr_reft.quirks import read_cases
from curr_reft.rewards import paper
from curr_reft.rewards.score import GoldError
from curr_reft.rewards.variants import VARIANTS
from curr_reft.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = (100, 1_000, 10_000, 100_000, 1_000_000)
HOSTILE = {
    "unclosed boxes": "{[1,2,3,4]",
    "nested tags": "<answer>",
    "open brackets": "[",
    "digits": "[1",
    "white space": " \n",
    "labels": "a, b and ",
}
GOLDS = {
    ("judge", "classify"): "<answer>yes</answer>",
    ("choice", "classify"): "<answer>A, C</answer>",
    ("open", "detection"): "<answer>[10, 20, 110, 220]</answer>",
    ("open", "classify"): "<answer>person, car</answer>",
    ("open", "math"): "<answer>35</answer>",
}
MATH_BY_LIBRARY = ("released", "open", "math")
"""Here math-verify reads the whole text, with a clock of five seconds: not this project's parsing."""


def seconds(call: Callable[[], object], at_least: float = 0.2) -> float:
    """The mean time of a call repeated for `at_least` seconds."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < at_least:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def throughput() -> Table:
    table = Table(
        "stage", *(f"{variant}, rows/s" for variant in VARIANTS), title="golden rows, accuracy + format"
    )
    cases = read_cases(ROOT / "tests/golden")
    maths.compare("0.5", "1/2")
    for stage in STAGES:
        rows = [(case.task, case.completion, case.gold) for case in cases if case.where == stage]

        def score_all(variant: str, stage: str = stage, rows: list = rows) -> None:
            for task, completion, gold in rows:
                VARIANTS[variant].score_format(stage, task, completion)
                try:
                    VARIANTS[variant].score(stage, task, completion, gold)
                except GoldError:
                    continue

        speeds = []
        for variant in VARIANTS:
            # One pass over rows not seen before, as in training: a second one would find everything parsed.
            for cache in (maths._expression, maths._expressions, paper._gold):
                cache.cache_clear()
            start = time.perf_counter()
            score_all(variant)
            speeds.append(f"{len(rows) / (time.perf_counter() - start):,.0f}")
        table.add_row(stage, *speeds)
    return table


def parsing_time() -> Table:
    """The slowest of the hostile texts per rule and length; the exponent is of the last tenfold."""
    table = Table(
        "variant", "stage", "task", *(f"{length:,} B, ms" for length in LENGTHS), "exponent", "text"
    )
    table.title = "slowest hostile text: score + format"
    for variant, functions in VARIANTS.items():
        for (stage, task), gold in GOLDS.items():
            if (variant, stage, task) == MATH_BY_LIBRARY:
                continue
            slowest = []
            for length in LENGTHS:
                times = {}
                for name, piece in HOSTILE.items():
                    body = (piece * (length // len(piece)))[:length]
                    text = f"<think>t</think><answer>{body}</answer>"

                    def score(text: str = text, functions=functions, row=(stage, task), gold=gold) -> None:
                        functions.score(*row, text, gold)
                        functions.score_format(*row, text)

                    times[name] = seconds(score, 0.02)
                slowest.append(max((duration, name) for name, duration in times.items()))
            exponent = math.log10(slowest[-1][0] / slowest[-2][0])
            cells = [f"{1000 * duration:.3f}" for duration, _ in slowest]
            table.add_row(variant, stage, task, *cells, f"{exponent:.2f}", slowest[-1][1])
    return table


def share_of_a_step(steps: int) -> Table:
    """Train the tiny model on each stage with every reward function timed."""
    from curr_reft.training import build_trainer, prepare

    sys.path.insert(0, str(ROOT / "train_code/grpo"))
    import stage1_judge
    import stage2_choice
    import stage3_open

    table = Table(
        "stage", "s per step", "s in rewards", "share", title=f"tiny model, {steps} steps, variant paper"
    )
    classes = (stage1_judge.JudgeTrainer, stage2_choice.ChoiceTrainer, stage3_open.OpenTrainer)
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder) / "world", train=40, val=1, test=1, seed=0)
        for trainer_class in classes:
            config = next((ROOT / "configs/tiny").glob(f"stage{trainer_class.stage.number}_*.yaml"))
            flags = {
                "--config": config,
                "--model_name_or_path": ROOT / "train_code/curr_reft/tiny/base",
                "--image_root": f"{folder}/world",
                "--output_dir": f"{folder}/{trainer_class.stage.name}",
                "--max_steps": steps,
            }
            run = prepare(trainer_class.stage, [str(part) for item in flags.items() for part in item])
            trainer = build_trainer(run, trainer_class)
            spent = []

            def timed(function: Callable, spent: list = spent) -> Callable:
                def call(*args, **kwargs):
                    start = time.perf_counter()
                    try:
                        return function(*args, **kwargs)
                    finally:
                        spent.append(time.perf_counter() - start)

                return call

            trainer.reward_funcs = [timed(function) for function in trainer.reward_funcs]
            start = time.perf_counter()
            trainer.train()
            step = (time.perf_counter() - start) / steps
            reward = sum(spent) / steps
            table.add_row(trainer_class.stage.name, f"{step:.2f}", f"{reward:.4f}", f"{reward / step:.2%}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="training steps per stage")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in (throughput(), parsing_time(), share_of_a_step(arguments.steps)):
        console.print(table)


if __name__ == "__main__":
    main()
