"""Pairs of evaluations that answered the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from curr_reft.errors import InputError
from curr_reft.evaluation.compare import Comparison, compare
from curr_reft.evaluation.report.documents import Evaluation


@dataclass(frozen=True)
class Pair:
    """Two evaluations by name, and how they differ on each suite that both answered."""

    a: str
    b: str
    suites: dict[str, Comparison]


def compare_pair(evaluations: Sequence[Evaluation], a: str, b: str) -> Pair:
    """Compare two evaluations, given by their names in the report.

    Raises:
        InputError: when there is none of such a name, or the two cannot be compared.
    """
    folders = {evaluation.name: evaluation.directory for evaluation in evaluations}
    if unknown := [name for name in (a, b) if name not in folders]:
        names = ", ".join(folders) or "none"
        raise InputError(f"--compare: no evaluation is named {' or '.join(unknown)}; there are: {names}")
    return Pair(a, b, compare(folders[a], folders[b]))
