"""What a task is: everything that tells one task from another stands on its `Task` and nowhere else."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, get_args

from curr_reft.answers.reading import Reading, read_strictly
from curr_reft.boxes import Size
from curr_reft.stages import THINK_FIRST, AnswerKind, Asking, ImageBudget, Stage
from curr_reft.tasks.distractors import Distractors, OpenRow
from curr_reft.tasks.rule import Rule, find_gold, score_completion
from curr_reft.tasks.score import BAD_GOLD, GoldError, Score

_THINK_FIRST = Asking(THINK_FIRST)
Golds = Mapping[str, Any]
"""The fields of a row that hold what is right."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How evaluation scores the rows of a suite: right or wrong."""

    name: str
    """As suites YAMLs and the released files name it."""
    rules: tuple[Rule, ...]
    """The first that can read the gold scores the answer; its reward of 1 is right, all else is wrong."""
    fields: tuple[str, ...] = ("solution",)
    """The golds that each row carries."""
    gold: Callable[[Golds], Any] = itemgetter("solution")
    """Which of them is scored against, in an answer block or alone; its boxes in the frame of the prompt."""
    golds_in_frame: Callable[[Golds, Size, Size], Golds] | None = None
    """Moves golds from the stored image to another frame, raising `ValueError` for golds that are none;
    `None` where the solution's text is moved as that of a training row."""
    detail: Callable[[Score], Score] = lambda score: score
    """Adds to a score what tables show beside it, such as the overlap."""
    released_asking: Asking = _THINK_FIRST
    """How the released evaluator asks about its rows."""
    released_image: Callable[[str], str] = lambda image: image
    """The image that the released evaluator reads for a row's."""

    def score(self, output: str, golds: Golds, reading: Reading = "strict", problem: str = "") -> Score:
        """1 if the output is right, else 0; a gold that cannot be read scores 0 and says so (`BAD_GOLD`).

        Args:
            reading: How the answer is found in the output.
            problem: May list options, one of which a tolerantly read answer may spell out.
        """
        gold = self.gold(golds)
        try:
            found, rule = find_gold(self.rules, _in_block(gold), f"scoring {self.name}")
        except GoldError as error:
            return Score(0.0, str(error), None, gold, BAD_GOLD)
        result = self.detail(score_completion(output, found, rule, reading, problem))
        return result._replace(reward=float(result.reward == 1))

    def is_parsed(self, output: str) -> bool:
        """Whether an output holds, strictly read, an answer of the kind that is asked for, right or wrong."""
        return read_strictly(output, self.rules[-1].kind).value is not None


def _in_block(gold: Any) -> str:
    """The gold as text in an answer block; nothing for what is neither text, number nor list."""
    if isinstance(gold, bool) or not isinstance(gold, str | int | float | list):
        return ""
    text = gold if isinstance(gold, str) else json.dumps(gold)
    return text if "<answer>" in text else f"<answer>{text}</answer>"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: how it is asked, how its answers are read and scored, and how wrong ones are made."""

    name: str
    """As rows name it."""
    title: str
    """As tables name it."""
    rules: tuple[Rule, ...]
    """How open answers are scored: by the first rule that can read the row's gold."""
    distractors: Callable[[OpenRow], type[Distractors]]
    """Where wrong answers to an open row come from, for judge and choice rows."""
    aliases: tuple[str, ...] = ()
    """Other names that rows may give it."""
    endings: Mapping[AnswerKind, str] = field(default_factory=dict)
    """What prompts end in, by the kind of answer, where that is not what the stage's end in."""
    budgets: Mapping[AnswerKind, ImageBudget | None] = field(default_factory=dict)
    """Of images, by the kind of answer, where that is not the stage's."""
    has_boxes: bool = False
    """Whether problems and answers hold boxes in pixels, which move with the image's size."""
    needs_image: bool = True
    """Whether no question of it can be asked without an image."""
    format_fault: Callable[[str], str | None] = lambda answer: None
    """What the format reward finds wrong with an open answer that is in its tags."""
    scorings: tuple[Scoring, ...] = ()
    """How evaluation may score it, the usual way first; without any, the rules decide under its own name."""

    def __post_init__(self) -> None:
        if not isinstance(self.rules, tuple) or not self.rules:
            raise ValueError("rules: expected a tuple of one or more Rule")
        if unknown := (self.endings.keys() | self.budgets.keys()) - set(get_args(AnswerKind)):
            kinds = ", ".join(get_args(AnswerKind))
            raise ValueError(f"endings and budgets: {min(unknown)!r} is none of {kinds}")
        if not self.scorings:
            object.__setattr__(self, "scorings", (Scoring(name=self.name, rules=self.rules),))

    def asking(self, stage: Stage) -> Asking:
        """How a stage asks about its rows: as the stage says of this task, the task of this kind of answer,
        or the stage of all."""
        ending = stage.endings.get(self.name, self.endings.get(stage.answer, stage.ending))
        budget = stage.budgets.get(self.name, self.budgets.get(stage.answer, stage.budget))
        return Asking(THINK_FIRST + ending, budget)
