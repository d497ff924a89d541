"""The three stages as one table: prompt templates and image budgets per task.

Templates are the released ones (``Stage{1_judge,2_choice,3_open}_math_resize.py``), word for word: a model
trained elsewhere on the released prompts must see the same ones here.
"""

from dataclasses import dataclass, field

_THINK_FIRST = (
    "First output the thinking process in <think> </think> tags and then output the final answer in"
    " <answer> </answer> tags."
)
_ONE_OPTION = (
    " Ensure your final answer is exactly one of the provided option letters without any additional text."
)
_SEVERAL_OPTIONS = (
    " Based on the given options, select all options that accurately describe what is shown in the image."
    " Ensure your final answer is exactly one or more of the provided option letters without any additional"
    " text."
)
_YES_NO = " Ensure your final answer is exactly 'yes' or 'no'."
_JSON_BOX = " Output the final answer in JSON format in <answer> </answer> tags."

TASKS = ("detection", "classify", "math")
"""The task names rows carry; `classification` is accepted as a spelling of `classify`."""


@dataclass(frozen=True)
class ImageBudget:
    """When and how a stage shrinks an image before the processor sees it.

    An image of more than `trigger` pixels is resized to at most `max_pixels`; one whose longer side exceeds
    `max_ratio` times the shorter is left as it is (released behaviour).
    """

    trigger: int
    max_pixels: int
    max_ratio: int = 12
    resample: str = "LANCZOS"


_JUDGE_MATH = ImageBudget(trigger=262_144, max_pixels=262_144, resample="BICUBIC")
_MATH = ImageBudget(trigger=410_000, max_pixels=410_000)
_OTHER = ImageBudget(trigger=410_000, max_pixels=420_000)


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum: what is asked and how large the images are."""

    name: str
    number: int
    default_suffix: str
    suffixes: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, ImageBudget] = field(default_factory=dict)

    def prompt(self, task: str, problem: str) -> str:
        """The user turn for a row: its problem, the released instruction, and the task's ending."""
        return f"{problem} {_THINK_FIRST}{self.suffixes.get(task, self.default_suffix)}"

    def budget(self, task: str) -> ImageBudget | None:
        """The image budget for a task's images, `None` when this stage never resizes them."""
        return self.budgets.get(task)


_BUDGETS = {"math": _MATH, "detection": _OTHER, "classify": _OTHER}

STAGES = {
    "judge": Stage("judge", 1, _YES_NO, budgets={"math": _JUDGE_MATH}),
    "choice": Stage("choice", 2, _ONE_OPTION, {"classify": _SEVERAL_OPTIONS}, _BUDGETS),
    "open": Stage("open", 3, "", {"detection": _JSON_BOX}, _BUDGETS),
}
