"""Write the embedded world to disk in the released data format: ``python -m curr_reft.data.shapes``.

Layout, as in the released ``grpo_data``: ``train/{judge,choice,open}/`` holds training, validation and
in-domain test rows, ``test/`` out-of-domain rows, ``images/`` the images. With ``--queries``, ``queries/``
holds what a trained model is asked for its own answers. No image is in two splits.
"""

import json
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from curr_reft.data.shapes.questions import (
    Question,
    choice_questions,
    judge_questions,
    open_questions,
    sum_questions,
)
from curr_reft.data.shapes.scenes import IN_DOMAIN, OUT_OF_DOMAIN, Domain, Scene, draw, sample_scene
from curr_reft.errors import command
from curr_reft.files.atomic import replacing, room_below
from curr_reft.files.cli import CommandParser

logger = logging.getLogger(__name__)

QUESTIONS = {"judge": judge_questions, "choice": choice_questions, "open": open_questions}


@dataclass(frozen=True)
class Split:
    """Some images and the stages that ask about them."""

    name: str
    folder: str
    images: int
    domain: Domain
    stages: tuple[str, ...]


def splits(train: int, val: int, test: int, queries: int) -> list[Split]:
    """The splits of the world: every stage trains on images of its own, all are tested on the same ones.

    The last one has what a trained model is asked for its own answers (`curr_reft.self_improvement`).
    """
    stages = tuple(QUESTIONS)
    return [
        *(Split("train", "train", train, IN_DOMAIN, (stage,)) for stage in stages),
        Split("val", "train", val, IN_DOMAIN, stages),
        Split("test", "train", test, IN_DOMAIN, stages),
        Split("test", "test", test, OUT_OF_DOMAIN, stages),
        Split("queries", "queries", queries, IN_DOMAIN, ("open",)),
    ]


def row_file(stage: str, task: str, split: Split) -> str:
    """A file's path in the data root, such as ``train/judge/judge_math_train.jsonl``."""
    prefix = "" if stage == "open" else f"{stage}_"
    folder = f"train/{stage}" if split.folder == "train" else split.folder
    return f"{folder}/{prefix}{task}_{split.name}.jsonl"


def _new_scenes(rng: random.Random, split: Split, seen: set[Scene]) -> Iterator[Scene]:
    for _ in range(split.images):
        scene = sample_scene(rng, split.domain)
        while scene in seen:
            scene = sample_scene(rng, split.domain)
        seen.add(scene)
        yield scene


def _row(question: Question, image: str | None = None) -> dict[str, str]:
    return {
        "problem": question.problem,
        "solution": f"<answer>{question.answer}</answer>",
        "task": question.task,
        **({} if image is None else {"image": image}),
    }


def _write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with replacing(path) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_world(output_dir: Path, train: int, val: int, test: int, seed: int, queries: int = 0) -> None:
    """Write images and rows; one row per task, stage and image. Counts are images per split.

    With `queries` come as many sums in words, which have no image.
    """
    rng = random.Random(seed)
    seen: set[Scene] = set()
    plan = splits(train, val, test, queries)
    count = sum(split.images for split in plan)
    with tqdm(total=count, desc="drawing images", unit="image") as progress:
        for number, split in enumerate(plan):
            rows: dict[str, list[dict[str, str]]] = {}
            images = Path("images") / f"{number}_{split.folder}_{split.name}"
            (output_dir / images).mkdir(parents=True, exist_ok=True)
            for index, scene in enumerate(_new_scenes(rng, split, seen)):
                path = images / f"{index:05d}.png"
                draw(scene).save(output_dir / path)
                for stage in split.stages:
                    for question in QUESTIONS[stage](rng, scene):
                        rows.setdefault(row_file(stage, question.task, split), []).append(
                            _row(question, str(path))
                        )
                progress.update()
            for name, items in rows.items():
                _write_rows(output_dir / name, items)
    if queries:
        sums = [_row(question) for question in sum_questions(rng, queries)]
        _write_rows(output_dir / "queries/sums_queries.jsonl", sums)
    logger.info("wrote the embedded world to %s", output_dir)


@command
def main() -> None:
    """Write the world that the flags describe."""
    parser = CommandParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--train", type=int, default=400, help="training images per stage")
    parser.add_argument("--val", type=int, default=16, help="validation images")
    parser.add_argument("--test", type=int, default=300, help="test images per domain")
    parser.add_argument("--queries", type=int, default=0, help="images of queries for self-improvement")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with room_below(arguments.output_dir):
        write_world(**vars(arguments))


if __name__ == "__main__":
    main()
