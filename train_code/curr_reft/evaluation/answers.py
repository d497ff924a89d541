"""A model's answers to requests, in a file that survives a kill: what is there is not asked for again."""

import hashlib
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from curr_reft.data.prompts import Request
from curr_reft.evaluation.backends.endpoint import EndpointError
from curr_reft.evaluation.backends.generation import Backend, Completion
from curr_reft.files.journal import append, recover
from curr_reft.files.json import Row
from curr_reft.processes import ProcessGroup

logger = logging.getLogger(__name__)

_KINDS = {"model_output": str, "truncated": bool, "new_tokens": int | None}


class Answers:
    """The file of the answers to some requests, shared by all processes."""

    def __init__(
        self,
        path: Path,
        requests: Sequence[Request],
        model_digest: str,
        settings: dict[str, Any],
        spare: Sequence[Request] = (),
    ) -> None:
        """
        Args:
            model_digest: Of the weights and all that belongs to them.
            settings: What the answers depend on besides; an answer given under others does not hold.
            spare: Requests that are not made, and whose answers are kept where they are there.
        """
        self._path, self._requests = path, requests
        self._digests = {
            request.id: _digest(model_digest, settings, request) for request in (*requests, *spare)
        }

    def collect(self, load: Callable[[], Backend], title: str, processes: ProcessGroup) -> tuple[int, float]:
        """Ask for the answers that are missing, each on the disk before it counts.

        Returns how many those were, and the seconds that their computing took.

        Args:
            load: Called when there is one.

        Raises:
            InputError: when the file cannot be read or written, or an endpoint fails.
        """
        there = processes.shared(lambda: set(self.read()))
        missing = [request for request in self._requests if request.id not in there]
        if not missing:
            logger.info("%s: all %d answers are there", self._path, len(self._requests))
            return 0, 0.0
        backend = load()
        processes.wait()
        started = time.monotonic()
        self._ask(backend, missing, title, processes)
        processes.wait()
        return len(missing), time.monotonic() - started

    def read(self) -> dict[str, Row]:
        """The answers that hold, by the ids of their requests, with the fields of `fields_of`.

        An answer is known by its digest, whatever its request's id was then; of equal requests each has one.
        """
        waiting: defaultdict[str, list[str]] = defaultdict(list)
        for request, digest in reversed(self._digests.items()):
            waiting[digest].append(request)

        def request_of(row: Row) -> str | None:
            if not all(isinstance(row[field], kind) for field, kind in _KINDS.items()):
                raise TypeError
            known = waiting.get(row["digest"])
            return known.pop() if known else None

        return recover(self._path, request_of)

    def _ask(self, backend: Backend, missing: Sequence[Request], title: str, processes: ProcessGroup) -> None:
        saved, counting = 0, threading.Lock()
        with tqdm(
            total=len(missing), desc=title, unit="answer", disable=processes.rank > 0 or None
        ) as progress:

            def save(answers: list[tuple[Request, Completion]]) -> None:
                nonlocal saved
                append(self._path, (self._row(request, completion) for request, completion in answers))
                with counting:
                    saved += len(answers)
                    # Others answer as many in the same time.
                    progress.update(min(len(answers) * processes.world_size, len(missing) - progress.n))

            try:
                backend.answer(missing, processes, save)
            except EndpointError as error:
                counts = f"{saved} of {len(missing)} answers were saved; started again it goes on from there"
                raise EndpointError(f"{error} ({counts})") from error

    def _row(self, request: Request, completion: Completion) -> Row:
        return {
            "id": request.id,
            "digest": self._digests[request.id],
            "model_output": completion.text,
            "new_tokens": completion.new_tokens,
            "truncated": completion.truncated,
        }


def fields_of(answer: Row) -> Row:
    """What an answer adds to the row of its request, so that the row stands for the answer when read."""
    return {field: answer[field] for field in (*_KINDS, "digest")}


def _digest(model_digest: str, settings: dict[str, Any], request: Request) -> str:
    content = json.dumps([model_digest, settings, request.content, request.seed])
    return hashlib.sha256(content.encode()).hexdigest()[:32]
