"""The rows that are sampled: a stage's prompts and images, and golds that it can read."""

from dataclasses import dataclass
from pathlib import Path

from curr_reft.boxes import Size
from curr_reft.data.images import check_images, fit_to_budget, open_image
from curr_reft.data.prompts import request
from curr_reft.data.schema import read_examples
from curr_reft.evaluation.backends.endpoint import Message, data_uri, user_message
from curr_reft.rewards import paper
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task
from curr_reft.tasks.score import GoldError


@dataclass(frozen=True)
class Problem:
    """One row as a stage asks it, its boxes in the frame of the image shown."""

    id: str
    """`FILE:LINE` or `FILE[INDEX]`, without the folder."""
    stage: str
    task: str
    question: str
    """Without the stage's instruction."""
    solution: str
    image: Path
    shown: Size
    """Width and height of the image that is sent."""

    @property
    def prompt(self) -> str:
        """The text of the user's request."""
        return find_task(self.task).asking(STAGES[self.stage]).prompt(self.question)

    def request(self) -> Message:
        """The user's message: the image, shrunk to the stage's budget, and the prompt."""
        image = fit_to_budget(open_image(self.image), find_task(self.task).asking(STAGES[self.stage]).budget)
        return user_message(self.prompt, data_uri(image))


def read_problems(path: Path, image_root: Path, stage: str) -> list[Problem]:
    """The rows of a file in the released format, with every gold and every image checked.

    Raises:
        InputError: for a bad row, a gold that the stage cannot read, or an unusable image.
    """
    examples = read_examples(path, image_root)
    for example in examples:
        try:
            paper.check_gold(stage, example.task, example.solution)
        except GoldError as error:
            raise GoldError(f"{example.id}: {error}") from error
    sizes, _ = check_images(examples, allow_missing=False, hint="check --image_root")
    problems = []
    for example in examples:
        stored = sizes[example.image]
        task = find_task(example.task)
        asked = request(example, task, task.asking(STAGES[stage]), stored)
        problems.append(
            Problem(
                id=Path(example.id).name,
                stage=stage,
                task=example.task,
                question=asked.problem,
                solution=asked.solution,
                image=example.image,
                shown=asked.shown,
            )
        )
    return problems
