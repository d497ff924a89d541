"""The stages of the curriculum, a row each; ``python -m curr_reft.stages`` lists them in their order.

Instructions are the released ones (``Stage{1_judge,2_choice,3_open}_math_resize.py``), word for word: a model
trained elsewhere on the released prompts must see the same ones here.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

AnswerKind = Literal["verdict", "letters", "open"]

THINK_FIRST = (
    "First output the thinking process in <think> </think> tags and then output the final answer in"
    " <answer> </answer> tags."
)
_YES_NO = " Ensure your final answer is exactly 'yes' or 'no'."
_ONE_OPTION = (
    " Ensure your final answer is exactly one of the provided option letters without any additional text."
)


@dataclass(frozen=True)
class ImageBudget:
    """When and how an image is shrunk before the processor sees it.

    An image of more than `trigger` pixels is resized to at most `max_pixels`; one whose longer side exceeds
    `max_ratio` times the shorter is left as it is (released behaviour).
    """

    trigger: int
    max_pixels: int
    max_ratio: int = 12
    resample: str = "LANCZOS"


class Asking(NamedTuple):
    """How a model is asked about a row."""

    instruction: str
    """What follows the problem in the prompt."""
    budget: ImageBudget | None = None
    """Of the row's image; `None` leaves it as it is."""

    def prompt(self, problem: str) -> str:
        """The text of the user's message."""
        return f"{problem} {self.instruction}"


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum. What a task does otherwise is on the task (`curr_reft.tasks.task`)."""

    name: str
    number: int
    answer: AnswerKind
    """What its rows are answered by: a verdict, the letters of options, or the answer itself."""
    ending: str = ""
    """What its prompts end in."""
    budget: ImageBudget | None = None
    endings: Mapping[str, str] = field(default_factory=dict)
    """What prompts of single tasks end in; these go before what the task itself says."""
    budgets: Mapping[str, ImageBudget | None] = field(default_factory=dict)
    """Of single tasks' images; these go before the task's own."""

    @property
    def title(self) -> str:
        """Its name among the files of the release, such as `stage1_judge`."""
        return f"stage{self.number}_{self.name}"

    @property
    def asking(self) -> Asking:
        """How rows of no task are asked about."""
        return Asking(THINK_FIRST + self.ending)


_BUDGET = ImageBudget(trigger=410_000, max_pixels=420_000)

STAGES = {
    stage.name: stage
    for stage in (
        Stage("judge", 1, "verdict", _YES_NO),
        Stage("choice", 2, "letters", _ONE_OPTION, _BUDGET),
        Stage("open", 3, "open", budget=_BUDGET),
    )
}
"""In the order of the curriculum."""


def stage_of(name: str, run: Stage) -> Stage:
    """The stage of a row: the one that its mixture names, or the run's where it names none."""
    return STAGES[name] if name else run


if __name__ == "__main__":
    sys.stdout.writelines(f"{stage.title}\n" for stage in STAGES.values())
