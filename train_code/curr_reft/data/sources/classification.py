"""Classification rows: which of the named categories an image shows."""

from collections.abc import Collection, Sequence

from curr_reft.data.rows import make_row
from curr_reft.data.sources.annotations import RecordError
from curr_reft.files.json import Row

PROBLEM = (
    "Which of these categories appear in the picture: {names}? Answer with their names, separated by commas."
)
"""*Ours*: the paper shows a prompt that lists the categories (Fig. 6), and no source gives its words."""


def classification_row(row_id: str, names: Sequence[str], present: Collection[str], image: str) -> Row:
    """A row that asks which of `names` an image shows; the answer keeps their order.

    Raises:
        RecordError: when none is present.
    """
    labels = [name for name in names if name in present]
    if not labels:
        raise RecordError("no object of the categories asked for")
    problem = PROBLEM.format(names=", ".join(names))
    return make_row(row_id, problem, ", ".join(labels), "classify", image)
