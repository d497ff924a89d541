"""The file of examples that supervised fine-tuning reads, and the pictures it names."""

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from curr_reft.files.atomic import replacing
from curr_reft.self_improvement.judge_pictures import shown_picture
from curr_reft.self_improvement.records import Candidate
from curr_reft.sft.messages import message_row
from curr_reft.sft.pictures import picture_file


def write_examples(output: Path, chosen: Sequence[Candidate], image_dir: Path) -> int:
    """Write one row of ms-swift's messages per candidate: what was asked, the picture, the model's answer.

    Returns:
        How many pictures had to be copied to `image_dir`.

    Raises:
        InputError: when a picture cannot be used or a file not be written; no examples are written then.
    """
    copies: set[Path] = set()
    with replacing(output) as file:
        for candidate in tqdm(chosen, "Writing examples", unit="example", disable=None):
            picture = None
            if candidate.image is not None:
                shown = shown_picture(candidate.image, candidate.stage, candidate.task, candidate.shown)
                picture = picture_file(candidate.image, shown, image_dir)
                copies |= {picture} - {candidate.image}
            row = message_row(candidate.prompt, candidate.completion.strip(), picture)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(copies)
