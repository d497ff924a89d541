"""Samples of a model's answers, each saved as it comes, so that none is asked for twice."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from curr_reft.data.prompts import seed_of
from curr_reft.evaluation.backends.asking import ask_for_missing
from curr_reft.evaluation.backends.endpoint import ChatEndpoint, EndpointError
from curr_reft.evaluation.pass_at_k.problems import Problem
from curr_reft.files import journal
from curr_reft.files.manifest import sha256_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How answers are sampled."""

    num_samples: int
    """Of each problem."""
    temperature: float
    max_new_tokens: int
    seed: int

    def options(self) -> dict[str, Any]:
        """The fields of a request.

        The whole distribution is sampled from: servers would take another `top_p` from the model's
        `generation_config.json`. `max_tokens` is the limit's old name, the one that all servers know.
        """
        return {"temperature": self.temperature, "top_p": 1.0, "max_tokens": self.max_new_tokens}


@dataclass(frozen=True)
class Sample:
    """One answer."""

    completion: str
    truncated: bool
    """Whether `max_new_tokens` ended it."""


def collect_samples(
    problems: Sequence[Problem], settings: Settings, endpoint: ChatEndpoint, path: Path, threads: int
) -> list[list[Sample]]:
    """The samples of each problem, `num_samples` each; only those that the file lacks are asked for.

    A row of the file has `problem`, `sample` (its number), `digest` (of what the completion depends on),
    `completion` and `truncated`. Rows are known by their digest, so a file of problems may be moved, sorted
    and extended. Rows of other settings are set aside (`journal.recover`), samples beyond `num_samples` stay.

    Raises:
        EndpointError: when the server fails; what came until then is saved.
        InputError: when a file cannot be read or written.
    """
    digests = _digests(problems, settings, endpoint.model)
    known = frozenset(digests)
    rows = journal.recover(path, lambda row: _checked_key(row) if row["digest"] in known else None)
    numbers = range(settings.num_samples)
    samples = {
        key: Sample(row["completion"], row["truncated"]) for key, row in rows.items() if key[1] in numbers
    }
    missing = [
        (problem, digest, number)
        for problem, digest in zip(problems, digests, strict=True)
        for number in numbers
        if (digest, number) not in samples
    ]
    # The samples of a problem follow each other, and so share its image.
    request_of = lru_cache(maxsize=threads)(Problem.request)

    def ask(item: tuple[Problem, str, int]) -> None:
        problem, digest, number = item
        try:
            reply = endpoint.ask(
                [request_of(problem)], **settings.options(), seed=seed_of(f"{digest} {number}")
            )
        except EndpointError as error:
            raise EndpointError(f"{problem.id}, sample {number}: {error}") from error
        row = {"problem": problem.id, "sample": number, "digest": digest}
        journal.append(path, [{**row, "completion": reply.text, "truncated": reply.truncated}])
        samples[digest, number] = Sample(reply.text, reply.truncated)

    ask_for_missing(missing, ask, threads, samples, "sample")
    collected = [[samples[digest, number] for number in numbers] for digest in digests]
    _warn_of_equal_samples(collected, settings)
    return collected


def _digests(problems: Sequence[Problem], settings: Settings, model: str) -> list[str]:
    """What the samples of each problem depend on, in 64 hex digits; rows that are equal are told apart."""
    images = {image: sha256_of(image) for image in dict.fromkeys(problem.image for problem in problems)}
    times: Counter[str] = Counter()
    digests = []
    for problem in problems:
        asked = [problem.prompt, images[problem.image], problem.shown]
        content = json.dumps([model, *asked, settings.options(), settings.seed])
        digests.append(hashlib.sha256(f"{content} {times[content]}".encode()).hexdigest())
        times[content] += 1
    return digests


def _checked_key(row: journal.Row) -> tuple[str, int]:
    kinds = {"sample": int, "completion": str, "truncated": bool}
    if any(type(row[field]) is not kind for field, kind in kinds.items()):
        raise TypeError("not a sample")
    return row["digest"], row["sample"]


def _warn_of_equal_samples(collected: list[list[Sample]], settings: Settings) -> None:
    if settings.num_samples > 1 and all(len(set(samples)) == 1 for samples in collected):
        logger.warning(
            "all %d samples of every problem are equal: the server may not sample at all (see do_sample and"
            " top_k in the model's generation_config.json); pass@k is then the same for every k",
            settings.num_samples,
        )
