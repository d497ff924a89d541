"""Judgements on the disk: none is lost to a kill, and nothing is judged twice."""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from curr_reft.files import journal
from curr_reft.files.json import Row


class Verdict(NamedTuple):
    """Scores and what they rest on, or why there are none."""

    scores: dict[str, float] | None
    evidence: dict[str, Any]
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said about one item."""

    id: str
    """The item's."""
    digest: str
    """Of all that was judged."""
    judge: str
    """`rule`, or the model's name."""
    settings: str
    """Digest of how it was judged: by which rules, or which model, prompt and images."""
    scores: dict[str, float] | None
    """By what was asked for, each from 0 to 100; `None` when there are no scores."""
    rejected: str | None
    """Why there are no scores."""
    evidence: dict[str, Any]
    """What the scores rest on."""


def digest_of(value: Any) -> str:
    """Of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def judgement_row(judgement: Judgement, names: Sequence[str]) -> Row:
    """What `judgement_of` reads back; `names` are those of the scores."""
    fields = {name: getattr(judgement, name) for name in Judgement.__slots__ if name != "scores"}
    return {**(judgement.scores or dict.fromkeys(names)), **fields}


def judgement_of(row: Row, names: Sequence[str]) -> Judgement:
    """The judgement that a row of a file holds.

    Raises:
        LookupError, TypeError: when it holds none.
    """
    scores = {name: row[name] for name in names}
    fields = {name: row[name] for name in Judgement.__slots__ if name != "scores"}
    texts = [fields[name] for name in ("id", "digest", "judge", "settings")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(fields["evidence"], dict):
        raise TypeError("not a judgement")
    if fields["rejected"] is None:
        if not all(type(score) in (int, float) and 0 <= score <= 100 for score in scores.values()):
            raise TypeError("not scores")
    elif not isinstance(fields["rejected"], str):
        raise TypeError("not a reason")
    return Judgement(**fields, scores=None if fields["rejected"] is not None else scores)


class Judgements:
    """The judgements of one judge, on the disk and in memory. Threads may add to one."""

    def __init__(
        self,
        path: Path,
        digests: Mapping[str, str],
        names: Sequence[str],
        judge: str,
        settings: str,
        ask_again: bool = False,
    ) -> None:
        """Read what is there.

        Rows of other settings, and of what an item no longer is, are set aside (`journal.recover`); rows of
        other items stay.

        Args:
            digests: Of all that is judged of an item, by the item's id; equal ones are judged once.
            names: Of the scores.
            settings: Digest of how the judge judges.
            ask_again: Set rejections aside too.

        Raises:
            InputError: when the file cannot be read or written.
        """
        self._path, self._names, self._judge, self._settings = path, names, judge, settings

        def key_of(row: Row) -> str | None:
            found = judgement_of(row, names)
            holds = found.settings == settings and digests.get(found.id, found.digest) == found.digest
            return found.id if holds and not (ask_again and found.rejected is not None) else None

        rows = journal.recover(path, key_of)
        self.by_id = {key: judgement_of(row, names) for key, row in rows.items()}
        self.wanted = len(set(digests.values()))
        self._lock = threading.Lock()
        by_digest = {judgement.digest: judgement for judgement in self.by_id.values()}
        copies = []
        self.missing: defaultdict[str, list[str]] = defaultdict(list)
        """What is to be judged: the ids of equal items by their digest."""
        for item, digest in digests.items():
            if item in self.by_id:
                continue
            if digest in by_digest:
                copies.append(replace(by_digest[digest], id=item))
            else:
                self.missing[digest].append(item)
        self._save(copies)

    def add(self, verdicts: Iterable[tuple[str, Verdict]]) -> None:
        """Save the verdicts on missing items, by their digests, and wait until they are on the disk."""
        verdicts = list(verdicts)
        self._save(
            [
                Judgement(item, digest, self._judge, self._settings, **verdict._asdict())
                for digest, verdict in verdicts
                for item in self.missing[digest]
            ]
        )
        with self._lock:
            for digest, _ in verdicts:
                del self.missing[digest]

    def _save(self, judgements: Sequence[Judgement]) -> None:
        if judgements:
            journal.append(self._path, (judgement_row(each, self._names) for each in judgements))
            with self._lock:
                self.by_id.update((each.id, each) for each in judgements)
