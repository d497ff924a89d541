"""Answer and score held-out rows with one checkpoint."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from curr_reft.annotate import add_scores
from curr_reft.command_line import CommandParser
from curr_reft.data.boxes import BoxFrame
from curr_reft.data.dataset import Split, build_split
from curr_reft.data.images import check_images
from curr_reft.data.schema import read_examples
from curr_reft.errors import InputError, command
from curr_reft.evaluation.generation import generate, load_model
from curr_reft.evaluation.scoring import Accuracy, score_row, summarise
from curr_reft.evaluation.suites import Suite, load_suites
from curr_reft.manifest import environment, read_manifest, sha256_of
from curr_reft.processor import load_processor
from curr_reft.stages import STAGES

logger = logging.getLogger(__name__)


def _parser() -> CommandParser:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint directory or hub id")
    parser.add_argument("--suites", type=Path, required=True, help="suites YAML, see configs/eval")
    parser.add_argument(
        "--data_root", type=Path, required=True, help="folder of the suites' rows and pictures"
    )
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--domain", choices=("in", "out", "all"), default="all")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--max_prompt_length", type=int, default=2048)
    parser.add_argument(
        "--box_frame",
        choices=get_args(BoxFrame),
        help="frame of the gold boxes (default: the one of the training run, by its manifest, or budget)",
    )
    return parser


def recorded_box_frame(model: str) -> str | None:
    """The box frame of the run that made a checkpoint, `None` where no manifest tells.

    Raises:
        InputError: for a `manifest.json` that is not a run's.
    """
    folder = Path(model)
    record = read_manifest(folder.parent if folder.name.startswith("checkpoint-") else folder)
    return record["config"]["box_frame"] if record else None


def _score(suite: Suite, split: Split, completions: list[str], path: Path) -> Accuracy:
    """Score a suite's completions, and write them to `path` as the scoring command reads and writes them."""
    scores = []
    with path.open("w", encoding="utf-8") as file:
        for row, completion in zip(split.dataset.with_format(None), completions, strict=True):
            example = {"solution": row["solution"]}
            prediction = {
                "id": row["id"],
                "task": suite.task,
                "model_output": completion,
                "example": example,
            }
            scores.append(score_row(suite.scoring, prediction))
            file.write(json.dumps(add_scores(prediction, scores[-1], explain=False)) + "\n")
    return summarise(suite.task, completions, scores)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write ``SUITE.jsonl`` (one line per row) and ``scores.json`` to the output directory."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    suites = [suite for suite in load_suites(arguments.suites) if arguments.domain in ("all", suite.domain)]
    if not arguments.data_root.is_dir():
        raise InputError(f"--data_root {arguments.data_root}: no such directory")
    box_frame = arguments.box_frame or recorded_box_frame(arguments.model) or "budget"
    processor = load_processor(arguments.model)
    splits = {}
    for suite in suites:
        examples = read_examples(arguments.data_root / suite.json_path, arguments.data_root)
        sizes, _ = check_images(examples, allow_missing=False, hint="check --data_root")
        splits[suite] = build_split(
            examples, STAGES["open"], sizes, processor, arguments.max_prompt_length, True, box_frame
        )

    model = load_model(arguments.model)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    scores = {}
    for suite, split in splits.items():
        completions = generate(
            model, processor, split, arguments.batch_size, arguments.max_new_tokens, description=suite.name
        )
        accuracy = _score(suite, split, completions, arguments.output_dir / f"{suite.name}.jsonl")
        scores[suite.name] = {
            "task": suite.task,
            "domain": suite.domain,
            "sha256": sha256_of(arguments.data_root / suite.json_path),
            **dataclasses.asdict(accuracy),
        }
    record = {"model": arguments.model, "box_frame": box_frame, "scores": scores, **environment()}
    (arguments.output_dir / "scores.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    logger.info("wrote %s", arguments.output_dir)
