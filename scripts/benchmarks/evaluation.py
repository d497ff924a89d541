"""Rows per second of the evaluator and of the released procedure: same model, same rows, one run.

    python scripts/benchmarks/evaluation.py

The released procedure (`muti_process_eval.py`): batches of 80 rows in the file's order; images are decoded
and resized one after the other by the thread that generates (`qwen_vl_utils`, then the processor); prompts
are padded on the left to the longest of the batch. The evaluator runs with its own defaults: batches by
length, of up to 256 rows and 12,288 tokens on a CPU, and images that several suites ask about seen once.
Both run the tiny model in float32, greedily, up to 256 tokens, each time in a fresh process, the time of its
imports and of loading weights left out. Rows are those of the embedded world's six suites, once with images
as drawn and once with images enlarged one to five times, as real sizes differ.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForImageTextToText, AutoProcessor

from curr_reft.data.shapes.__main__ import write_world
from curr_reft.data.suites import load_suites
from curr_reft.evaluation.requests import Images, read_suite
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task

logger = logging.getLogger("benchmark")

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "train_code/curr_reft/data/shapes/tiny/base"
SUITES = REPOSITORY / "configs/eval/shapes.yaml"
RELEASED_BATCH_SIZE = 80


def enlarge_images(world: Path) -> None:
    """Enlarge each image one to five times, at random and in place."""
    rng = random.Random(0)
    for path in sorted(world.glob("images/*/*.png")):
        with Image.open(path) as image:
            factor = rng.uniform(1, 5)
            image.resize([round(side * factor) for side in image.size], Image.Resampling.BICUBIC).save(path)


def released_procedure(model_path: Path, world: Path) -> tuple[int, float]:
    """Rows answered, and the seconds that took."""
    model = AutoModelForImageTextToText.from_pretrained(model_path, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(model_path, padding_side="left")
    rows, started = 0, time.monotonic()
    for suite in load_suites(SUITES):
        lines = (world / suite.json_path).read_text().splitlines()
        chats = [_chat(json.loads(line), suite.task, world) for line in lines]
        for start in range(0, len(chats), RELEASED_BATCH_SIZE):
            batch = chats[start : start + RELEASED_BATCH_SIZE]
            texts = [processor.apply_chat_template(chat, add_generation_prompt=True) for chat in batch]
            images, _ = process_vision_info(batch)
            inputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
            with torch.inference_mode():
                outputs = model.generate(**inputs, use_cache=True, max_new_tokens=256, do_sample=False)
            answers = outputs[:, inputs["input_ids"].shape[1] :]
            rows += len(processor.tokenizer.batch_decode(answers, skip_special_tokens=True))
    return rows, time.monotonic() - started


def _chat(row: dict, task: str, world: Path) -> list[dict]:
    text = find_task(task).asking(STAGES["open"]).prompt(row["problem"])
    content = [{"type": "image", "image": str(world / row["image"])}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def evaluator(model_path: Path, world: Path, output: Path, processes: int) -> tuple[int, float]:
    """Rows answered by `eval/evaluate.py`, and the seconds that took."""
    command = [
        *(sys.executable, "-m", "curr_reft.training.launch", "--standalone", f"--nproc_per_node={processes}"),
        *(str(REPOSITORY / "eval/evaluate.py"), "--model", str(model_path), "--data_root", str(world)),
        *("--suites_config", str(SUITES), "--output_dir", str(output)),
    ]
    threads = str(max(1, len(os.sched_getaffinity(0)) // processes))
    subprocess.run(
        command, check=True, env={**os.environ, "OMP_NUM_THREADS": threads}, stdout=subprocess.DEVNULL
    )
    scores = json.loads((output / "scores.json").read_text())["scores"].values()
    rows, seconds = (sum(score[name] for score in scores) for name in ("answered_now", "seconds"))
    # It checks and hashes all images before it starts its own clock.
    images, started = Images(), time.monotonic()
    for suite in load_suites(SUITES):
        read_suite(suite, world, "training", rows, 42, "budget", None, images)
    return rows, seconds + time.monotonic() - started


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=TINY)
    parser.add_argument("--rows", type=int, default=200, help="of each of the six suites")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest run of each counts (default 3)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    table = Table(title="rows per second, and times the released procedure's", title_justify="left")
    for column in ("images", "rows", "released procedure", "evaluator, 1 process", "2 processes"):
        table.add_column(column)
    answered, fastest = 0, dict.fromkeys(("released", "1", "2"), 0.0)

    def add_row(images: str, rows: int, seconds: dict[str, float]) -> None:
        times = [
            f"{rows / seconds[n]:.1f} ({seconds['released'] / seconds[n]:.2f} times)" for n in ("1", "2")
        ]
        table.add_row(images, str(rows), f"{rows / seconds['released']:.1f}", *times)

    for images in ("as drawn", "enlarged 1 to 5 times"):
        with tempfile.TemporaryDirectory() as folder:
            world = Path(folder) / "world"
            write_world(world, train=0, val=0, test=arguments.rows, seed=1)
            if images != "as drawn":
                enlarge_images(world)
            took: dict[str, list[float]] = {name: [] for name in fastest}
            for repeat in range(arguments.repeats):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                    rows, seconds = fresh.submit(released_procedure, arguments.model, world).result()
                took["released"].append(seconds)
                for processes in (1, 2):
                    output = Path(folder) / f"evaluation-{repeat}-{processes}"
                    rows, seconds = evaluator(arguments.model, world, output, processes)
                    took[str(processes)].append(seconds)
                logger.info("seconds for %d rows, images %s: %s", rows, images, took)
            # What else the machine does only ever slows a run down.
            least = {name: min(each) for name, each in took.items()}
            add_row(images, rows, least)
            answered += rows
            fastest = {name: fastest[name] + least[name] for name in fastest}
    add_row("all of these", answered, fastest)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
