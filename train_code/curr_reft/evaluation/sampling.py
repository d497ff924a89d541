"""Several answers of a model to each row, from whichever backend: where pass@k and self-improvement begin."""

import logging
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from transformers import ProcessorMixin

from curr_reft.boxes import BoxFrame, Size
from curr_reft.data.dataset import box_frame_size, texts_in_frame
from curr_reft.data.images import budget_size
from curr_reft.data.schema import Example
from curr_reft.evaluation.answers import Answers
from curr_reft.evaluation.models import EvaluatedModel, find_models
from curr_reft.evaluation.request import Request, content_digest, seed_of
from curr_reft.files.journal import Row, sole_writer
from curr_reft.files.manifest import sha256_of
from curr_reft.processes import ProcessGroup
from curr_reft.stages import STAGES

# `Answers` begins its rows with the id, and `_request` ends that with the sample's number.
_NUMBER = re.compile(rb'^\{"id": "[^\n]*?#(\d{1,6})", "digest": ', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """A row as a stage asks it, its boxes in the frame that the model was taught."""

    id: str
    stage: str
    task: str | None
    problem: str
    """Without the stage's instruction."""
    prompt: str
    image: Path | None
    shown: Size | None
    """Width and height at which the model sees the image."""
    solution: str | None


@dataclass(frozen=True)
class Samples:
    """What was asked, of whom, and the answers."""

    model: EvaluatedModel
    model_digest: str
    questions: list[Question]
    answers: list[list[Row]]
    """Those to each question, with the fields of `answers.fields_of`."""


def question_of(
    row_id: str,
    problem: str,
    solution: str | None,
    task: str | None,
    image: Path | None,
    stage: str,
    sizes: Mapping[Path, Size],
    box_frame: BoxFrame,
    processor: ProcessorMixin | None,
) -> Question:
    """What a stage makes of a row.

    Args:
        sizes: The stored size of each image.
        processor: Only looked at for the box frame `processed`.
    """
    shown = None
    if image is not None:
        shown = budget_size(sizes[image], STAGES[stage].budget(task or ""))
        if task == "detection":
            frame = shown if processor is None else box_frame_size(shown, box_frame, processor)
            example = Example(row_id, problem, solution or "", task, image)
            problem, moved = texts_in_frame(example, sizes[image], frame)
            solution = None if solution is None else moved
    prompt = STAGES[stage].prompt(task or "", problem)
    return Question(row_id, stage, task, problem, prompt, image, shown, solution)


def sample(
    flags: Namespace,
    path: Path,
    read: Callable[[EvaluatedModel], list[Question]],
    processes: ProcessGroup,
    held: ExitStack,
    is_store: bool = False,
) -> Samples | None:
    """Ask for the answers that a file lacks, `num_samples` to each question; equal questions count each.

    Args:
        flags: Those of `add_model_flags` and `add_sampling_flags`.
        read: Gives the questions, as the model takes boxes.
        held: Holds the output folder against other commands.
        is_store: Whether the file outlives what is asked now. Then samples are known by what they answer,
            wherever that stands in a file of rows, and those beyond `num_samples` stay. Otherwise they are
            known by the ids of their questions.

    Returns:
        `None` in all processes but the first.

    Raises:
        InputError: when a model, row or file cannot be used, or an endpoint fails; what came is saved.
    """
    if processes.rank:
        logging.getLogger().setLevel(logging.WARNING)
    model = find_models(flags, processes, {})[0]
    questions = processes.shared(lambda: read(model))
    processes.shared(lambda: held.enter_context(sole_writer(flags.output_dir)))
    model_digest = processes.shared(model.digest)
    paths = dict.fromkeys(question.image for question in questions if question.image is not None)
    images = processes.shared(lambda: {image: sha256_of(image) for image in paths})
    contents = [
        content_digest(question.prompt, images.get(question.image), question.shown) for question in questions
    ]
    names = _names(contents) if is_store else [question.id for question in questions]

    def requests(numbers: Iterable[int]) -> list[Request]:
        asked = zip(questions, contents, names, strict=True)
        return [_request(*each, number, flags.seed) for each in asked for number in numbers]

    wanted = range(flags.num_samples)
    spare = requests(sorted(_numbers(path) - {*wanted})) if is_store else []
    answers = Answers(path, requests(wanted), model_digest, model.settings, spare)
    answers.collect(model.load, "Sampling", processes)
    if processes.rank:
        return None
    found = answers.read()
    rows = [[found[_id(question, number)] for number in wanted] for question in questions]
    return Samples(model, model_digest, questions, rows)


def _names(contents: Iterable[str]) -> list[str]:
    """Names of questions by what they are; equal ones are told apart."""
    times: Counter[str] = Counter()
    names = []
    for content in contents:
        names.append(f"{content} {times[content]}")
        times[content] += 1
    return names


def _id(question: Question, number: int) -> str:
    return f"{question.id}#{number}"


def _request(question: Question, content: str, name: str, number: int, seed: int) -> Request:
    return Request(
        id=_id(question, number),
        prompt=question.prompt,
        image=question.image,
        budget=STAGES[question.stage].budget(question.task or ""),
        shown=question.shown,
        content=content,
        seed=seed_of(f"{seed} {name}#{number}"),
    )


def _numbers(path: Path) -> set[int]:
    """The numbers of the samples that a file may hold."""
    return set(map(int, _NUMBER.findall(path.read_bytes()))) if path.is_file() else set()
