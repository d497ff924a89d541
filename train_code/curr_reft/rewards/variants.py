"""The two reward variants under one interface."""

from collections.abc import Callable
from dataclasses import dataclass

from curr_reft.errors import InputError
from curr_reft.rewards import paper, released
from curr_reft.rewards.format import score_format
from curr_reft.tasks.score import Score


@dataclass(frozen=True)
class Variant:
    """How a variant scores a row; its functions take stage and task first.

    `score` and `check_gold` raise `GoldError` for a row that the variant refuses.
    """

    score: Callable[[str, str, str, str], Score]
    score_format: Callable[[str, str, str], Score]
    check_gold: Callable[[str, str, str], None]


VARIANTS = {
    "paper": Variant(paper.score, score_format, paper.check_gold),
    "released": Variant(released.score, released.score_format, released.check_gold),
}


def find_variant(name: str) -> Variant:
    """The variant of a name.

    Raises:
        InputError: for a name that is none.
    """
    if name not in VARIANTS:
        raise InputError(f"unknown reward variant {name!r}: use one of {', '.join(VARIANTS)}")
    return VARIANTS[name]
