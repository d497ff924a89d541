"""Whether the gold boxes of rows are boxes in their images, or in another frame altogether."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curr_reft.answers.boxes import is_no_objects, parse_boxes
from curr_reft.answers.region import extract_answer
from curr_reft.boxes import THOUSANDTHS, Box, Size, box_fault, boxes_in_text, leaves
from curr_reft.data.schema import Example, file_of
from curr_reft.errors import InputError
from curr_reft.stages import Stage, stage_of
from curr_reft.tasks.registry import find_task

logger = logging.getLogger(__name__)

_SHOWN_FAULTS = 5
_UNIT: Size = (1, 1)


@dataclass
class _Frame:
    """What the gold boxes of a file say of the frame they are in."""

    rows: int = 0
    in_one_pixel: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    beyond_1000: bool = False

    def add(self, row: str, boxes: list[Box], size: Size) -> None:
        self.rows += 1
        if not any(leaves(box, _UNIT) for box in boxes):
            self.in_one_pixel.append(row)
        if any(leaves(box, size, slack=1) for box in boxes):
            self.outside.append(row)
        self.beyond_1000 |= any(leaves(box, THOUSANDTHS) for box in boxes)

    def fault(self) -> str | None:
        if 2 * len(self.in_one_pixel) > self.rows:
            return (
                f"{len(self.in_one_pixel)} of {self.rows} gold boxes lie inside one pixel, first"
                f" {self.in_one_pixel[0]}: they look normalised to 0…1; multiply them by their image's"
                " width and height"
            )
        if 2 * len(self.outside) > self.rows and not self.beyond_1000:
            return (
                f"{len(self.outside)} of {self.rows} gold boxes leave their images, first"
                f" {self.outside[0]}: they look normalised to 0…1000; multiply them by their image's width"
                " / 1000 and height / 1000, or check that the images are the right ones"
            )
        return None


def check_boxes(
    examples: Iterable[Example], stage: Stage, sizes: Mapping[Path, Size], drop: bool
) -> dict[str, str]:
    """What is wrong with the gold boxes of rows whose answer itself is asked for, by row id.

    In the other stages a gold is a verdict or a letter, and a wrong answer may be anywhere. Rows without a
    size are passed over.

    Args:
        stage: Of the rows that name none.

    Raises:
        InputError: for the first ones, unless their rows are to be dropped; and for a file whose golds are in
            another frame, of which dropping would leave the rows that happen to fit.
    """
    golds = (row for row in examples if stage_of(row.stage, stage).answer == "open")
    faults = box_faults(golds, sizes)
    if faults:
        shown = "; ".join(f"{row}: {fault}" for row, fault in list(faults.items())[:_SHOWN_FAULTS])
        summary = f"bad gold boxes in {len(faults)} rows: {shown}"
        if not drop:
            raise InputError(f"{summary} (mend them, or drop these rows with --drop_bad_boxes)")
        logger.warning("rows dropped for %s", summary)
    return faults


def box_faults(examples: Iterable[Example], sizes: Mapping[Path, Size]) -> dict[str, str]:
    """What is wrong with the gold boxes of open rows, by row id, where their frame is right.

    In the frame 0 to 1 all boxes lie in one pixel; in the frame 0 to 1000 many leave their images, and none
    goes beyond 1000.

    Raises:
        InputError: for the first file of which more than half the golds look like one of these.
    """
    faults: dict[str, str] = {}
    frames: dict[str, _Frame] = {}
    for example in examples:
        if not find_task(example.task).has_boxes or example.image not in sizes:
            continue
        answer, size = extract_answer(example.solution) or "", sizes[example.image]
        if is_no_objects(answer):
            continue
        # Those without an area too, which the reward's parser leaves out.
        boxes = parse_boxes(answer) or boxes_in_text(answer)
        if not boxes:
            faults[example.id] = f"{answer[:60]!r} is no box"
            continue
        frames.setdefault(file_of(example.id), _Frame()).add(example.id, boxes, size)
        if fault := next(filter(None, (box_fault(box, size) for box in boxes)), None):
            faults[example.id] = fault
    for file, frame in frames.items():
        if fault := frame.fault():
            raise InputError(f"{file}: {fault}")
    return faults
