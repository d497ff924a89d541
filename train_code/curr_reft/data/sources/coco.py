"""COCO instances to classification rows: ``python -m curr_reft.data.sources.coco``.

Reads a file of the COCO annotation format (https://cocodataset.org/#format-data), `instances.json` of the
refer data sets included. pycocotools is not used: it stops at the first record that lacks a key.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curr_reft.answers.labels import parse_labels
from curr_reft.data.rows import BadRecord, write_rows
from curr_reft.data.sources.annotations import RecordError, by_id, image_path, known_id, records, text
from curr_reft.data.sources.classification import classification_row
from curr_reft.data.sources.flags import builder_parser
from curr_reft.errors import InputError, command
from curr_reft.files.json import Row, read_json

SUPERCATEGORIES = (
    *("person", "vehicle", "outdoor", "animal", "accessory", "sports"),
    *("kitchen", "food", "furniture", "electronic", "appliance", "indoor"),
)
"""COCO's twelve in its own order; the paper lists them in the prompt (Fig. 6)."""

_NAME_KEYS = {"supercategories": "supercategory", "categories": "name"}


def coco_rows(annotations: Path, names: str, image_prefix: str) -> Iterator[Row | BadRecord]:
    """A row for each image, in file order, over the `supercategories` or the file's own `categories`.

    A crowd counts: its things are in the picture. An image with an annotation that cannot be read is a bad
    record as a whole, for its labels are not known. Ids are `coco:IMAGE_ID`.

    Raises:
        InputError: for a file of another form, and for supercategories when the file's categories do not make
            up the twelve: what it does not annotate may still be in its images.
    """
    document = read_json(annotations)
    label_of, asked = _labels(annotations, records(document, "categories", annotations), names)
    images, bad_images = by_id(records(document, "images", annotations), f"{annotations}: images")
    yield from bad_images
    labels: dict[int | str, set[str]] = defaultdict(set)
    faults: dict[int | str, str] = {}
    for index, annotation in enumerate(records(document, "annotations", annotations)):
        where = f"annotations[{index}]"
        try:
            image_id = known_id(annotation, "image_id", images)
        except RecordError as error:
            yield BadRecord(f"{annotations}: {where}", str(error))
            continue
        try:
            labels[image_id].add(label_of[known_id(annotation, "category_id", label_of)])
        except RecordError as error:
            faults[image_id] = f"{where}: {error}"
    for image_id, image in images.items():
        try:
            if image_id in faults:
                raise RecordError(faults[image_id])
            path = image_path(image_prefix, text(image, "file_name"))
            yield classification_row(f"coco:{image_id}", asked, labels[image_id], path)
        except RecordError as error:
            yield BadRecord(f"{annotations}: image {image_id}", str(error))


def _labels(path: Path, categories: list[Any], names: str) -> tuple[dict[int | str, str], tuple[str, ...]]:
    """The label of each category id, and the labels to ask for."""
    by_number, bad = by_id(categories, f"{path}: categories")
    if bad:
        raise InputError(f"{bad[0].where}: {bad[0].reason}")
    try:
        label_of = {number: text(item, _NAME_KEYS[names]) for number, item in by_number.items()}
    except RecordError as error:
        raise InputError(f"{path}: categories: {error}") from error
    found = tuple(dict.fromkeys(label_of.values()))
    if names == "supercategories" and set(found) != set(SUPERCATEGORIES):
        raise InputError(
            f"{path}: its categories do not make up COCO's twelve supercategories;"
            " ask for its own with --names categories"
        )
    for name in found:
        if parse_labels(name) != {name.casefold()} or set(name) & set("[]<>"):
            raise InputError(f"{path}: categories: {name[:40]!r} cannot stand in a list of labels")
    return label_of, SUPERCATEGORIES if names == "supercategories" else found


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write a row for each image of the file."""
    parser = builder_parser(__doc__, image_prefix="images/coco/train2014")
    parser.add_argument("--annotations", type=Path, required=True, help="such as instances_train2014.json")
    parser.add_argument(
        "--names", choices=tuple(_NAME_KEYS), default="supercategories", help="what to ask for"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = coco_rows(arguments.annotations, arguments.names, arguments.image_prefix)
    write_rows(arguments.output, rows, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
