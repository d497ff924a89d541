"""Do rows of supervised fine-tuning give held-out rows away? As `curr_reft.data.leaks`, for messages."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from curr_reft.data.images import ImageError, fit_to_budget, open_image
from curr_reft.data.leaks import find_overlaps, read_suites
from curr_reft.data.schema import Example
from curr_reft.data.suites import load_suites
from curr_reft.sft.images import pixel_digest
from curr_reft.stages import STAGES, Asking, ImageBudget
from curr_reft.tasks.registry import known_tasks

if TYPE_CHECKING:
    from curr_reft.sft.check import CheckedRow

_NO_IMAGE = Path("no image")
_THREADS = 8


def leaks_of(rows: Sequence["CheckedRow"], suites: Path, data_root: Path) -> tuple[list[str], list[str]]:
    """Rows that are about a held-out image, or ask a held-out question without one; and suites not read.

    An image is known again by its path and its pixels, those that a stage shrinks it to as well, whatever
    file they are in. `python -m curr_reft.data.leaks` also finds copies of another size or quality.
    """
    questions, unread = read_suites(load_suites(suites), data_root)
    by_digest: dict[str, dict[Path, str]] = {}
    held_out = (each.image for suite in questions.values() for each in suite)
    budgets = list({None, *(asking.budget for asking in _askings())})
    for path, digests in _digests(held_out, budgets).items():
        for digest in digests:
            by_digest.setdefault(digest, {})[path] = "image"
    copies: dict[Path, dict[Path, str]] = {}
    for path, digests in _digests((image for row in rows for image in row.images), [None]).items():
        copies[path] = {path: "image"}
        for digest in digests:
            copies[path] |= by_digest.get(digest, {})
    examples = [
        Example(row.id, problem_of(row.row.user_text), "", "", image)
        for row in rows
        for image in row.images or (_NO_IMAGE,)
    ]
    overlaps = find_overlaps(examples, questions, lambda image: copies.get(image, {}))
    without_image = {row.id for row in rows if not row.images}
    faults = [
        f"{each.train}: gives away the {each.kind} of the held-out row {each.held_out} ({each.suite})"
        for each in overlaps
        if each.kind in ("question", "image") or each.train in without_image
    ]
    return faults, unread


def _askings() -> list[Asking]:
    return [task.asking(stage) for stage in STAGES.values() for task in known_tasks().values()]


def _digests(paths: Iterable[Path], budgets: Sequence[ImageBudget | None]) -> dict[Path, set[str]]:
    """Of each image its pixels' digest at every budget; none of an image that cannot be opened."""

    def digests(path: Path) -> set[str]:
        try:
            image = open_image(path)
        except ImageError:
            return set()
        return {pixel_digest(fit_to_budget(image, budget)) for budget in budgets}

    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(unique, pool.map(digests, unique), strict=True))


def problem_of(user_text: str) -> str:
    """What is asked, without the instruction of a stage at its end."""
    # The longest first, since some end in others.
    for instruction in sorted({asking.prompt("") for asking in _askings()}, key=len, reverse=True):
        if user_text.endswith(instruction):
            return user_text.removesuffix(instruction)
    return user_text
