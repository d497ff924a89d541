"""Several answers of a model to each row, from whichever backend: where pass@k and self-improvement begin."""

import logging
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from curr_reft.data.prompts import Request, seed_of
from curr_reft.evaluation.answers import Answers
from curr_reft.evaluation.models import EvaluatedModel, find_models
from curr_reft.files.journal import sole_writer
from curr_reft.files.json import Row
from curr_reft.files.manifest import sha256_of
from curr_reft.processes import ProcessGroup

# `Answers` begins its rows with the id, and `_id` ends that with the sample's number.
_NUMBER = re.compile(rb'^\{"id": "[^\n]*?#(\d{1,6})", "digest": ', re.MULTILINE)


@dataclass(frozen=True)
class Samples:
    """What was asked, of whom, and the answers."""

    model: EvaluatedModel
    model_digest: str
    questions: list[Request]
    answers: list[list[Row]]
    """Those to each question, with the fields of `answers.fields_of`."""


def sample(
    flags: Namespace,
    path: Path,
    read: Callable[[EvaluatedModel], list[Request]],
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
    questions = [replace(question, image_digest=images.get(question.image)) for question in questions]
    names = (
        _names(question.content for question in questions)
        if is_store
        else [question.id for question in questions]
    )

    def requests(numbers: Iterable[int]) -> list[Request]:
        return [
            replace(question, id=_id(question, number), seed=seed_of(f"{flags.seed} {name}#{number}"))
            for question, name in zip(questions, names, strict=True)
            for number in numbers
        ]

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


def _id(question: Request, number: int) -> str:
    return f"{question.id}#{number}"


def _numbers(path: Path) -> set[int]:
    """The numbers of the samples that a file may hold."""
    return set(map(int, _NUMBER.findall(path.read_bytes()))) if path.is_file() else set()
