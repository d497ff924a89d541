"""What is checked of a mixture's rows before a run: golds, boxes, and whether they give test rows away."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from curr_reft.answers.boxes import is_no_objects, parse_boxes
from curr_reft.answers.region import extract_answer
from curr_reft.arguments import DataArguments
from curr_reft.data.boxes import Size, box_fault, boxes_in_text
from curr_reft.data.leaks import find_overlaps, read_suites, summaries
from curr_reft.data.mixture import Mixture
from curr_reft.data.schema import Example
from curr_reft.errors import InputError
from curr_reft.evaluation.suites import load_suites
from curr_reft.rewards.score import GoldError
from curr_reft.rewards.variants import find_variant
from curr_reft.stages import Stage

logger = logging.getLogger(__name__)

_SHOWN_FAULTS = 5


def held_out_warnings(mixture: Mixture, data: DataArguments) -> list[str]:
    """What training gives away of held-out rows: by their text and their pictures' paths, and by file names.

    Copies of pictures under other names are found by `python -m curr_reft.data.leaks`.

    Raises:
        InputError: when there is a leak, or a suite that cannot be compared, and `--forbid_leaks` is given.
    """
    warnings = [
        f"{file.path} is a test file: scores on it say nothing about a model trained with this mixture"
        for file in mixture.files
        if file.split == "train" and Path(file.path).stem.endswith("_test")
    ]
    if data.held_out_suites in (None, "", "none"):
        if data.forbid_leaks:
            raise InputError("--forbid_leaks: name what is held out with --held_out_suites configs/eval/…")
        return warnings
    suites, unread = read_suites(
        load_suites(Path(data.held_out_suites)), Path(data.data_root or data.image_root)
    )
    warnings += summaries(find_overlaps(mixture.train, suites), suites)
    warnings += [f"held-out suite not compared: {suite}" for suite in unread]
    if warnings and data.forbid_leaks:
        raise InputError(f"--forbid_leaks: {warnings[0]}")
    return warnings


def check_boxes(
    examples: Iterable[Example], stage: Stage, sizes: Mapping[Path, Size], drop: bool
) -> dict[str, str]:
    """What is wrong with the gold boxes of the open stage's detection rows, by row id.

    In the other stages a gold is a verdict or a letter, and a wrong answer may be anywhere. Rows without a
    size are passed over.

    Raises:
        InputError: for the first ones, unless their rows are to be dropped.
    """
    if stage.name != "open":
        return {}
    faults = {}
    for example in examples:
        if example.task == "detection" and example.image in sizes:
            fault = _gold_box_fault(extract_answer(example.solution) or "", sizes[example.image])
            if fault is not None:
                faults[example.id] = fault
    if faults:
        shown = "; ".join(f"{row}: {fault}" for row, fault in list(faults.items())[:_SHOWN_FAULTS])
        summary = f"bad gold boxes in {len(faults)} rows: {shown}"
        if not drop:
            raise InputError(f"{summary} (mend them, or drop these rows with --drop_bad_boxes)")
        logger.warning("rows dropped for %s", summary)
    return faults


def _gold_box_fault(answer: str, size: Size) -> str | None:
    if is_no_objects(answer):
        return None
    # Those without an area too, which the reward's parser leaves out.
    boxes = parse_boxes(answer) or boxes_in_text(answer)
    if not boxes:
        return f"{answer[:60]!r} is no box"
    return next(filter(None, (box_fault(box, size) for box in boxes)), None)


def check_golds(examples: Iterable[Example], stage: Stage, variant: str) -> None:
    """Let the reward read every gold.

    Raises:
        InputError: for the first one it cannot read.
    """
    check_gold = find_variant(variant).check_gold
    for example in examples:
        try:
            check_gold(stage.name, example.task, example.solution)
        except GoldError as error:
            raise InputError(f"{example.id}: {error}") from error


def rows_in_both(train: Iterable[Example], val: Iterable[Example]) -> int:
    """How many validation rows ask a training row's question about its picture."""
    keys = Counter((row.problem, row.image) for row in val)
    found = {key for row in train if (key := (row.problem, row.image)) in keys}
    return sum(keys[key] for key in found)
