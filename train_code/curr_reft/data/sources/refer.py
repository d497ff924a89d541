"""The layout of the refer data sets: a pickle of refs, and their boxes in a COCO `instances.json`.

Format: https://github.com/lichengunc/refer (RefCOCO, RefCOCO+, RefCOCOg), which RefGTA follows. A ref names
one annotated object in one image and holds the sentences that describe it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.boxes import Size
from curr_reft.data.rows import BadRecord
from curr_reft.data.sources.annotations import (
    PixelBox,
    RecordError,
    by_id,
    corners,
    field,
    identifier,
    image_path,
    image_size,
    known_id,
    records,
    text,
)
from curr_reft.data.sources.plain_pickle import read_plain_pickle
from curr_reft.errors import InputError
from curr_reft.files.json import read_json

PROBLEM = "Please provide the bounding box coordinate of the region this sentence describes: {sentence}."
"""The wording of InternVL's RefCOCO data and of the released detection rows."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A sentence and the box it describes."""

    id: str
    """`REF_ID:SENT_ID`."""
    problem: str
    box: PixelBox
    size: Size
    """Of the image, as `instances.json` gives it."""
    image: str
    """The image's path under the image root."""


def read_expressions(
    refs_file: Path, instances_file: Path, split: str, sentences: str, image_prefix: str
) -> Iterator[Expression | BadRecord]:
    """The expressions of one split, in file order, `sentences` being `first` (of each ref) or `all`.

    Raises:
        InputError: when a file is not of the layout, or no ref is in the split.
    """
    refs = read_plain_pickle(refs_file)
    if not isinstance(refs, list):
        raise InputError(f"{refs_file}: expected a list of refs")
    instances = read_json(instances_file)
    images, bad_images = by_id(records(instances, "images", instances_file), f"{instances_file}: images")
    boxes, bad_boxes = by_id(
        records(instances, "annotations", instances_file), f"{instances_file}: annotations"
    )
    yield from (*bad_images, *bad_boxes)
    splits: set[str] = set()
    for index, ref in enumerate(refs):
        where = f"{refs_file}: refs[{index}]"
        try:
            ref_split = text(ref, "split")
            splits.add(ref_split)
            if ref_split == split:
                yield from _expressions(ref, where, sentences, boxes, images, image_prefix)
        except RecordError as error:
            yield BadRecord(where, str(error))
    if split not in splits:
        others = f"only in: {', '.join(sorted(splits))}" if splits else "nor in any other"
        raise InputError(f"{refs_file}: no ref is in split {split}, {others}")


def _expressions(
    ref: Any, where: str, sentences: str, boxes: dict, images: dict, image_prefix: str
) -> Iterator[Expression | BadRecord]:
    ref_id = identifier(ref, "ref_id")
    annotation = boxes[known_id(ref, "ann_id", boxes)]
    image = images[known_id(annotation, "image_id", images)]
    if identifier(ref, "image_id") != annotation["image_id"]:
        raise RecordError("image_id: not the image of the annotation that ann_id names")
    size = image_size(image)
    box = corners(annotation, "bbox", size)
    # The ref's own file_name carries the annotation's id, and is no file.
    path = image_path(image_prefix, text(image, "file_name"))
    found = field(ref, "sentences", list)
    if not found:
        raise RecordError("sentences: empty")
    for index, sentence in enumerate(found[:1] if sentences == "first" else found):
        try:
            sent_id = identifier(sentence, "sent_id")
            words = " ".join(text(sentence, "sent").split()).removesuffix(".")
            if not words:
                raise RecordError("sent: empty")
        except RecordError as error:
            yield BadRecord(f"{where}.sentences[{index}]", str(error))
            continue
        yield Expression(f"{ref_id}:{sent_id}", PROBLEM.format(sentence=words), box, size, path)
