"""The file of examples that supervised fine-tuning reads, and the images it names."""

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from curr_reft.files.atomic import replacing
from curr_reft.self_improvement.judged import shown_image
from curr_reft.self_improvement.records import Candidate
from curr_reft.sft.images import image_file
from curr_reft.sft.messages import message_row


def write_examples(output: Path, chosen: Sequence[Candidate], image_dir: Path) -> int:
    """Write one row of ms-swift's messages per candidate: what was asked, the image, the model's answer.

    Returns:
        How many images had to be copied to `image_dir`.

    Raises:
        InputError: when an image cannot be used or a file not be written; no examples are written then.
    """
    copies: set[Path] = set()
    with replacing(output) as file:
        for candidate in tqdm(chosen, "Writing examples", unit="example", disable=None):
            image = None
            if candidate.image is not None:
                shown = shown_image(candidate.image, candidate.stage, candidate.task, candidate.shown)
                image = image_file(candidate.image, shown, image_dir)
                copies |= {image} - {candidate.image}
            row = message_row(candidate.prompt, candidate.completion.strip(), image)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(copies)
