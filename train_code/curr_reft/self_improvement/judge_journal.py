"""The judgements of candidates on the disk: none is lost to a kill, and nothing is judged twice."""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files import journal
from curr_reft.self_improvement.judge_images import image_digests
from curr_reft.self_improvement.records import Candidate, Judgement, judgement_of, judgement_row

CUT_OFF, EMPTY = "cut off by the limit of tokens", "empty"


@dataclass(frozen=True)
class Verdict:
    """Scores and what they rest on, or why there are none."""

    scores: dict[str, float] | None
    evidence: dict[str, Any]
    rejected: str | None = None


def digest_of(value: Any) -> str:
    """Of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def unfit(candidate: Candidate) -> str | None:
    """Why a candidate is no example whatever it says, `None` when it may be one."""
    if candidate.truncated:
        return CUT_OFF
    return None if candidate.completion.strip() else EMPTY


def content_digests(candidates: Sequence[Candidate], images: Mapping[Path, str]) -> dict[str, str]:
    """A digest, by candidate, of all that a judgement rests on; equal answers to one question share it.

    Args:
        images: From `image_digests`.

    Raises:
        InputError: when an id is there twice.
    """
    digests = {
        candidate.id: digest_of(
            [
                *(candidate.stage, candidate.task, candidate.problem, candidate.prompt, candidate.solution),
                *(images.get(candidate.image), candidate.shown, candidate.completion, candidate.truncated),
            ]
        )
        for candidate in candidates
    }
    if len(digests) < len(candidates):
        raise InputError("the candidates hold an id twice; sample them anew")
    return digests


class JudgementFile:
    """The judgements of one judge, on the disk and in memory. Threads may add to one."""

    def __init__(
        self,
        path: Path,
        candidates: Sequence[Candidate],
        judge: str,
        settings: str,
        without_rejected: bool = False,
    ) -> None:
        """Read what is there; rows of other candidates or settings are set aside (`journal.recover`).

        Args:
            settings: Digest of how the judge judges.
            without_rejected: Set rejections aside too.

        Raises:
            InputError: when a file or image cannot be read or written.
        """
        self._path, self._judge, self._settings = path, judge, settings
        digests = content_digests(candidates, image_digests(candidates))

        def key_of(row: journal.Row) -> str | None:
            found = judgement_of(row)
            known = found.settings == settings and digests.get(found.id) == found.digest
            return found.id if known and not (without_rejected and found.rejected is not None) else None

        self.by_candidate = {key: judgement_of(row) for key, row in journal.recover(path, key_of).items()}
        self.by_digest = {judgement.digest: judgement for judgement in self.by_candidate.values()}
        self._lock = threading.Lock()
        alike: defaultdict[str, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            if candidate.id not in self.by_candidate:
                alike[digests[candidate.id]].append(candidate)
        self.missing: dict[str, list[Candidate]] = {}
        """What is to be judged: equal candidates by their digest, of which one is asked about."""
        copies = []
        for digest, group in alike.items():
            if digest in self.by_digest:
                copies += [replace(self.by_digest[digest], id=candidate.id) for candidate in group]
            else:
                self.missing[digest] = group
        self._save(copies)

    def add(self, verdicts: Iterable[tuple[str, Verdict]]) -> None:
        """Save the verdicts on missing candidates, by their digests, and wait until they are on the disk."""
        self._save(
            Judgement(
                id=candidate.id,
                digest=digest,
                judge=self._judge,
                settings=self._settings,
                scores=verdict.scores,
                rejected=verdict.rejected,
                evidence=verdict.evidence,
            )
            for digest, verdict in verdicts
            for candidate in self.missing[digest]
        )

    def _save(self, judgements: Iterable[Judgement]) -> None:
        found = list(judgements)
        if not found:
            return
        journal.append(self._path, map(judgement_row, found))
        with self._lock:
            for judgement in found:
                self.by_candidate[judgement.id] = self.by_digest[judgement.digest] = judgement
