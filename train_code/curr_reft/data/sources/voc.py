"""Pascal VOC to out-of-domain classification rows: ``python -m curr_reft.data.sources.voc``.

Reads a folder of XML annotations (`VOC2007/Annotations`), and optionally a list of image ids
(`VOC2007/ImageSets/Main/val.txt`). Format: the VOC development kit, section "Annotation files".
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import xmltodict

from curr_reft.data.rows import BadRecord, write_rows
from curr_reft.data.sources.annotations import RecordError, field, image_path, text
from curr_reft.data.sources.classification import classification_row
from curr_reft.data.sources.flags import builder_parser
from curr_reft.errors import InputError, command
from curr_reft.files.json import Row, read_text

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
"""VOC's twenty, spelled and ordered as VOC does."""


def voc_rows(annotations: Path, image_set: Path | None, image_prefix: str) -> Iterator[Row | BadRecord]:
    """A row for each image of the list, in its order, or for each XML file of the folder, by name.

    Objects marked difficult count: the question is what the image shows, and an answer that names them is
    right. (VOC's own classification scores leave them out of account.) Ids are `voc:IMAGE`.

    Raises:
        InputError: when the list cannot be read, or the folder holds no XML file.
    """
    if image_set is not None:
        lines = enumerate(read_text(image_set).split("\n"), start=1)
        listed = [(f"{image_set}:{number}", line.strip()) for number, line in lines if line.strip()]
    else:
        listed = [(str(path), path.stem) for path in sorted(annotations.glob("*.xml"))]
        if not listed:
            raise InputError(f"{annotations}: no .xml file in this folder")
    for where, name in listed:
        try:
            # A name of more parts could leave the folder, or is a line of a list for one class.
            if name.split() != [Path(name).name] or not name.isprintable():
                raise RecordError(f"{name[:40]!r} is no image id")
            annotation = field(_read_xml(annotations / f"{name}.xml"), "annotation", dict)
            image = image_path(image_prefix, text(annotation, "filename"))
            yield classification_row(f"voc:{name}", CLASSES, _labels(annotation), image)
        except RecordError as error:
            yield BadRecord(where, str(error))


def _read_xml(path: Path) -> Any:
    try:
        # disable_entities refuses declarations of entities: they can grow without bound, or read other files.
        # A file that names its own encoding could ask for any of Python's codecs.
        return xmltodict.parse(
            path.read_bytes(), encoding="utf-8", force_list=("object",), disable_entities=True
        )
    except OSError as error:
        raise RecordError(f"{path.name}: cannot be read ({error.strerror})") from error
    except (ExpatError, ValueError) as error:
        raise RecordError(f"{path.name}: broken XML: {error}") from error


def _labels(annotation: dict[str, Any]) -> set[str]:
    labels = {text(item, "name") for item in annotation.get("object", [])}
    unknown = labels.difference(CLASSES)
    if unknown:
        raise RecordError(f"object: {min(unknown)[:40]!r} is no VOC class")
    return labels


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write a row for each image."""
    parser = builder_parser(__doc__, image_prefix="images/voc/JPEGImages")
    parser.add_argument("--annotations", type=Path, required=True, help="such as VOC2007/Annotations")
    parser.add_argument("--image_set", type=Path, help="such as VOC2007/ImageSets/Main/val.txt (default all)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = voc_rows(arguments.annotations, arguments.image_set, arguments.image_prefix)
    write_rows(arguments.output, rows, arguments.drop_bad_rows)


if __name__ == "__main__":
    main()
