"""What an evaluation asks: the prompts and image budgets of training, or those of the released evaluator."""

from dataclasses import dataclass
from typing import Literal, get_args

from curr_reft.data.suites import Suite
from curr_reft.stages import STAGES, ImageBudget, Stage

Prompts = Literal["training", "released"]
PROMPTS: tuple[Prompts, ...] = get_args(Prompts)


@dataclass(frozen=True)
class _ReleasedMain(Stage):
    """`muti_process_eval.py`, which asks for boxes in other words than training does."""

    def prompt(self, task: str, problem: str) -> str:
        if task != "detection":
            return super().prompt(task, problem)
        return (
            f"{problem} First output your thinking process in <think> </think> tags and then provide the the"
            " final answer as bounding box coordinates in <answer> </answer> tags. Output the final answer in"
            " JSON format."
        )


# Images of other tasks are not shrunk. Where a side is over 40 times the other the release stops.
_MAIN = _ReleasedMain("open", 3, "", budgets={"math": ImageBudget(410_000, 410_000, max_ratio=40)})
_REFGTA = Stage("open", 3, "", {"detection": " Output the final answer in JSON format."})
"""`single_process_eval_for_refgta.py`."""


def questions_of(suite: Suite, prompts: Prompts) -> Stage:
    """Prompt template and image budget of a suite's rows, as a stage has them."""
    if prompts == "training":
        return STAGES["open"]
    return _REFGTA if suite.scoring == "refgta" else _MAIN


def image_of(suite: Suite, prompts: Prompts, image: str) -> str:
    """The image a row is asked about: the released RefGTA evaluator reads one that was made smaller."""
    if prompts == "released" and suite.scoring == "refgta":
        return image.replace("final", "final_resize", 1)
    return image
