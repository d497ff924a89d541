"""What rewards cost: `python scripts/benchmarks/rewards.py [--steps N]`.

Prints rows per second per stage and rule (on `tests/golden`), scoring time over the length of hostile
texts with the exponent it grows by, and the share of a training step that rewards take with the tiny model.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from curr_reft.answers import symbolic
from curr_reft.data.shapes.__main__ import write_world
from curr_reft.evaluation.quirk_list import Case
from curr_reft.evaluation.quirks import read_cases
from curr_reft.rewards import paper
from curr_reft.rewards.format import score_format
from curr_reft.rewards.variants import VARIANTS
from curr_reft.stages import STAGES
from curr_reft.tasks.score import GoldError, Score

ROOT = Path(__file__).resolve().parents[2]
RULES: dict[str, Callable[[str, str, str, str], Score]] = {
    "paper": paper.score,
    "paper, tolerant": partial(paper.score, reading="tolerant"),
    "released": VARIANTS["released"].score,
}
FORMATS = {"released": VARIANTS["released"].score_format}
LENGTHS = (100, 1_000, 10_000, 100_000, 1_000_000)
HOSTILE = {
    "unclosed boxes": "{[1,2,3,4]",
    "nested tags": "<answer>",
    "open brackets": "[",
    "digits": "[1",
    "white space": " \n",
    "labels": "a, b and ",
    "boxes in prose": "\\boxed{1} is ",
    "closing braces": "}",
    "bold": "**a",
    "fences": "```json\n[1]\n```\n",
    "dollars": "$1$ ",
    "roots": "√",
    "equalities": "1=",
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
    """The mean processor time of a call repeated for `at_least` seconds."""
    start, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - start < at_least:
        call()
        calls += 1
    return (time.process_time() - start) / calls


def throughput() -> Table:
    table = Table("rows", *(f"{rule}, rows/s" for rule in RULES), title="golden rows, accuracy + format")
    cases = read_cases(ROOT / "tests/golden")
    groups = {stage: [case for case in cases if case.where == stage] for stage in STAGES}
    groups["open, math alone"] = [case for case in groups["open"] if case.task == "math"]
    symbolic.start()
    for name, rows in groups.items():
        # The first pass fills caches of sympy's own.
        rows_per_second(rows, "paper")
        table.add_row(name, *(f"{rows_per_second(rows, rule):,.0f}" for rule in RULES))
    return table


def rows_per_second(rows: Sequence[Case], rule: str) -> float:
    """Of one pass over rows not seen before, as in training: a second one would find everything parsed."""
    for cache in (symbolic._expression, symbolic._expressions, rule.find_gold):
        cache.cache_clear()
    start = time.process_time()
    for case in rows:
        FORMATS.get(rule, score_format)(case.where, case.task, case.completion)
        try:
            RULES[rule](case.where, case.task, case.completion, case.gold)
        except GoldError:
            continue
    return len(rows) / (time.process_time() - start)


def parsing_time() -> Table:
    """The slowest of the hostile texts per rule and length.

    The exponent is the larger of those of 1 to 10 kB and of 100 kB to 1 MB: between them lies the length from
    which on markup stays.
    """
    table = Table("rule", "stage", "task", *(f"{length:,} B, ms" for length in LENGTHS), "exponent", "text")
    table.title = "slowest hostile text: score + format"
    symbolic.start()
    for rule, score_row in RULES.items():
        format_row = FORMATS.get(rule, score_format)
        for (stage, task), gold in GOLDS.items():
            if (rule, stage, task) == MATH_BY_LIBRARY:
                continue
            slowest = []
            for length in LENGTHS:
                times = {}
                for name, piece in HOSTILE.items():
                    body = (piece * (length // len(piece)))[:length]
                    text = f"<think>t</think><answer>{body}</answer>"

                    def score(text=text, rows=(score_row, format_row), row=(stage, task), gold=gold) -> None:
                        rows[0](*row, text, gold)
                        rows[1](*row, text)

                    times[name] = seconds(score, 0.02)
                slowest.append(max((duration, name) for name, duration in times.items()))
            times = [duration for duration, _ in slowest]
            exponent = max(math.log10(times[at + 1] / times[at]) for at in (1, 3))
            cells = [f"{1000 * duration:.3f}" for duration, _ in slowest]
            table.add_row(rule, stage, task, *cells, f"{exponent:.2f}", slowest[-1][1])
    return table


def share_of_a_step(steps: int) -> Table:
    """Train the tiny model on each stage with every reward function timed."""
    from curr_reft.training.run import build_trainer, prepare

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
                "--model_name_or_path": ROOT / "train_code/curr_reft/data/shapes/tiny/base",
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
