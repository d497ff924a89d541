"""What is checked of a mixture's rows before a run: golds, and whether they give test rows away."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from curr_reft.data.leaks import find_overlaps, read_suites, summaries
from curr_reft.data.mixture import Mixture
from curr_reft.data.schema import Example
from curr_reft.data.suites import load_suites
from curr_reft.errors import InputError
from curr_reft.rewards.variants import find_variant
from curr_reft.stages import Stage
from curr_reft.tasks.score import GoldError
from curr_reft.training.arguments import DataArguments


def held_out_warnings(mixture: Mixture, data: DataArguments) -> list[str]:
    """What training gives away of held-out rows: by their text and their images' paths, and by file names.

    Copies of images under other names are found by `python -m curr_reft.data.leaks`.

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
    """How many validation rows ask a training row's question about its image."""
    keys = Counter((row.problem, row.image) for row in val)
    found = {key for row in train if (key := (row.problem, row.image)) in keys}
    return sum(keys[key] for key in found)
