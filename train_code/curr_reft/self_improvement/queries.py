"""From the queries of a source to what the model is asked, and what its answers are kept with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers import ProcessorMixin

from curr_reft.boxes import BoxFrame
from curr_reft.data.prompts import Request, request, seed_of
from curr_reft.data.schema import Query, iter_queries
from curr_reft.errors import InputError
from curr_reft.evaluation.requests import Images
from curr_reft.self_improvement.records import Candidate
from curr_reft.self_improvement.sources import Source
from curr_reft.sft.messages import message_row
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of, find_task

_ANY_ANSWER = "-"


def read_queries(source: Source, data_root: Path) -> list[Query]:
    """The queries of a source; images are not looked at.

    Raises:
        InputError: for a file or row that cannot be used.
    """
    queries = list(iter_queries(data_root / source.json_path, data_root))
    for query in queries:
        if (query.image is None) != (source.modality == "text"):
            has = "no image" if query.image is None else "an image"
            raise InputError(
                f"{query.id}: has {has}, and source {source.name} is of modality {source.modality}"
            )
        try:
            message_row(
                asking_of(STAGES[source.stage], source.task).prompt(query.problem), _ANY_ANSWER, query.image
            )
        except InputError as error:
            raise InputError(f"{query.id}: problem: {error}") from error
    return queries


def candidates_of(
    source: Source,
    queries: Sequence[Query],
    samples: int,
    data_root: Path,
    images: Images,
    box_frame: BoxFrame,
    processor: ProcessorMixin | None,
) -> list[Candidate]:
    """The answers to ask for, `samples` of each query, their completions still empty.

    Args:
        images: Has looked at those of the queries.
        processor: Only looked at for the box frame `processed`.
    """
    return [
        candidate
        for query in queries
        for candidate in _candidates(source, query, samples, data_root, images, box_frame, processor)
    ]


def _candidates(
    source: Source,
    query: Query,
    samples: int,
    data_root: Path,
    images: Images,
    box_frame: BoxFrame,
    processor: ProcessorMixin | None,
) -> Iterator[Candidate]:
    task = None if source.task is None else find_task(source.task)
    stored = None if query.image is None else images.sizes[query.image]
    asked = request(query, task, asking_of(STAGES[source.stage], source.task), stored, box_frame, processor)
    # The same wherever the data root is.
    place = source.json_path + query.id.removeprefix(str(data_root / source.json_path))
    for sample in range(samples):
        yield Candidate(
            id=f"{source.name}/{place}#{sample}",
            query=f"{source.name}/{place}",
            source=source.name,
            sample=sample,
            stage=source.stage,
            task=source.task,
            problem=asked.problem,
            prompt=asked.prompt,
            image=query.image,
            shown=asked.shown,
            solution=asked.solution,
            completion="",
            truncated=False,
        )


def request_of(candidate: Candidate, images: Images, seed: int) -> Request:
    """What the model is asked for a candidate; the seed of its draws follows from `seed` and its id."""
    image = None if candidate.image is None else images.digests[candidate.image]
    return Request(
        id=candidate.id,
        prompt=candidate.prompt,
        image=candidate.image,
        budget=asking_of(STAGES[candidate.stage], candidate.task).budget,
        shown=candidate.shown,
        image_digest=image,
        seed=seed_of(f"{seed} {candidate.id}"),
    )
