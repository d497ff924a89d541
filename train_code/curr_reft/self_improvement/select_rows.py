"""The file of examples that supervised fine-tuning reads, and the pictures it names."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from curr_reft.atomic_file import replacing
from curr_reft.self_improvement.judge_pictures import shown_picture
from curr_reft.self_improvement.records import Candidate
from curr_reft.sft.messages import message_row

_NAME_DIGITS = 32


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
                picture = _picture_file(candidate, image_dir)
                copies |= {picture} - {candidate.image}
            row = message_row(candidate.prompt, candidate.completion.strip(), picture)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(copies)


def _picture_file(candidate: Candidate, image_dir: Path) -> Path:
    """A file in which any reader finds the picture that the model saw, the stored one where that is it.

    It is not when the picture was shrunk, and when its EXIF orientation turned it, which not every reader
    looks at. The copy's name follows from its pixels, so that it is made once.
    """
    shown = shown_picture(candidate.image, candidate.stage, candidate.task, candidate.shown)
    with Image.open(candidate.image) as stored:
        if stored.size == shown.size and stored.convert("RGB").tobytes() == shown.tobytes():
            return candidate.image.absolute()
    content = hashlib.sha256(json.dumps(shown.size).encode() + shown.tobytes())
    path = image_dir.absolute() / f"{content.hexdigest()[:_NAME_DIGITS]}.png"
    with replacing(path, binary=True) as file:
        shown.save(file, "PNG")
    return path
