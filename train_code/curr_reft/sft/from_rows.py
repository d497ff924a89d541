"""Rows of a training mixture as messages, the data of the supervised baseline.

    python -m curr_reft.sft.from_rows MIXTURE.yaml --image_root ROOT --stage open --output FILE.jsonl

The question is what the stage asks, the answer the row's solution, and the image has the size the stage
gives it: one that the stage shrinks is written anew below --image_dir, and its boxes move with it. So is one
that is stored turned, with transparent parts or with 16 bits, which ms-swift may show otherwise than the
stage. The stage is that of --stage where the mixture names none for a file.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm
from transformers import ProcessorMixin

from curr_reft.boxes import BoxFrame, Size
from curr_reft.data.gold_boxes import check_boxes
from curr_reft.data.images import check_images
from curr_reft.data.mixture import load_mixture
from curr_reft.data.prompts import request
from curr_reft.data.schema import Example
from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.models.processor import load_processor
from curr_reft.sft.images import default_image_dir, image_file
from curr_reft.sft.messages import message_row
from curr_reft.stages import STAGES, Stage, stage_of
from curr_reft.tasks.registry import add_tasks_flag

logger = logging.getLogger(__name__)


def row_of(
    example: Example,
    stage: Stage,
    sizes: Mapping[Path, Size],
    image_dir: Path,
    box_frame: BoxFrame = "budget",
    processor: ProcessorMixin | None = None,
) -> dict[str, Any]:
    """The message row of an example; writes its image below `image_dir` when the stage shows another.

    Args:
        stage: Of an example that names none.
        sizes: Stored width and height of every image.
        processor: Only looked at for the box frame `processed`.

    Raises:
        InputError: for a text that ms-swift would misread, with the row's place.
    """
    own = stage_of(example.stage, stage)
    asked = request(example, own, example.task, sizes[example.image], box_frame, processor)
    image = image_file(example.image, asked.open_image(), image_dir)
    try:
        return message_row(asked.prompt, asked.solution, image)
    except InputError as error:
        raise InputError(f"{example.id}: {error}") from error


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows."""
    parser = CommandParser(prog="python -m curr_reft.sft.from_rows", description=__doc__.splitlines()[0])
    parser.add_argument("mixture", type=Path, metavar="MIXTURE.yaml", help="see configs/data")
    parser.add_argument("--image_root", type=Path, required=True)
    parser.add_argument("--data_root", type=Path, help="folder of the row files (default: --image_root)")
    parser.add_argument("--stage", choices=list(STAGES), required=True)
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument(
        "--image_dir",
        type=Path,
        help="where images that change are copied to (default: images/ beside the folder of --output)",
    )
    parser.add_argument("--seed", type=int, default=42, help="draws rows as --data_seed of a stage does")
    parser.add_argument("--box_frame", choices=get_args(BoxFrame), default="budget", help="as of a stage")
    parser.add_argument("--model", help="for --box_frame processed: whose processor resizes the images")
    parser.add_argument("--min_pixels", type=int, help="of that processor")
    parser.add_argument("--max_pixels", type=int, help="of that processor")
    add_tasks_flag(parser)
    flags = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if flags.output.suffix != ".jsonl":
        raise InputError(f"--output {flags.output}: expected the name of a .jsonl file")
    if (flags.box_frame == "processed") != (flags.model is not None):
        raise InputError("--box_frame processed and --model CHECKPOINT, whose frame it is, go together")
    processor = flags.model and load_processor(flags.model, None, flags.min_pixels, flags.max_pixels)
    stage = STAGES[flags.stage]
    mixture = load_mixture(flags.mixture, flags.data_root or flags.image_root, flags.image_root, flags.seed)
    examples = mixture.train if flags.split == "train" else mixture.val
    if not len(examples):
        raise InputError(f"{flags.mixture}: lists no {flags.split}_datasets")
    sizes, _ = check_images(examples, allow_missing=False, hint="check --image_root")
    check_boxes(examples, stage, sizes, drop=False)
    image_dir = flags.image_dir or default_image_dir(flags.output)
    copied = set()
    with replacing(flags.output) as file:
        for example in tqdm(examples, desc="Writing rows", unit="row", disable=None):
            row = row_of(example, stage, sizes, image_dir, flags.box_frame, processor)
            copied.update(set(row["images"]) - {str(example.image)})
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    logger.info("%s: %d rows", flags.output, len(examples))
    if copied:
        logger.info("%s: %d images as the stage shows them", image_dir, len(copied))


if __name__ == "__main__":
    main()
