"""Which candidates become examples: the best of each query above the threshold, once, up to the quotas."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curr_reft.data.leaks import normalised
from curr_reft.errors import InputError
from curr_reft.evaluation.judge_reply import TOTAL
from curr_reft.evaluation.judgements import Judgement
from curr_reft.self_improvement.judged import unfit
from curr_reft.self_improvement.records import CANDIDATES, SCORES, Candidate
from curr_reft.self_improvement.sources import Composition
from curr_reft.sft.messages import message_row

MISREAD = "holds a tag or token that ms-swift would act on"


@dataclass
class SourceCount:
    """How many of a source came how far."""

    queries: int = 0
    candidates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Candidates that can be no example, by the reason."""
    above_threshold: int = 0
    """Queries whose best candidate is."""
    duplicates: int = 0
    """Of them, those that ask what a better one that was selected asks."""
    selected: int = 0


@dataclass(frozen=True)
class Selection:
    """The examples, and how they were come by."""

    chosen: list[Candidate]
    """In the composition's order of sources, then in that of their queries."""
    counts: dict[str, SourceCount]
    """By source, all of the composition."""
    best_totals: list[float]
    """Of each query that has a candidate which may be an example."""


@dataclass(frozen=True, slots=True)
class _Best:
    candidate: Candidate
    total: float
    position: int
    """The query's."""


def check_judgements(
    candidates: Sequence[Candidate],
    judgements: Mapping[str, Judgement],
    digests: Mapping[str, str],
    composition: Composition,
) -> None:
    """Raise `InputError` unless each candidate has one judge's scores, and belongs to a known source.

    Args:
        digests: Of the candidates as they are now, from `content_digests`.
    """
    known = {source.name for source in composition.sources}
    if unknown := sorted({candidate.source for candidate in candidates} - known):
        raise InputError(
            f"{CANDIDATES}: source {unknown[0]} is not in --config; take the one it was sampled with"
        )
    missing = [candidate.id for candidate in candidates if candidate.id not in judgements]
    if missing:
        raise InputError(
            f"{SCORES}: the judge is not through: {len(missing)} of {len(candidates)} candidates have no"
            f" scores, first {missing[0]}; start it again"
        )
    stale = [
        candidate.id for candidate in candidates if judgements[candidate.id].digest != digests[candidate.id]
    ]
    if stale:
        raise InputError(
            f"{SCORES}: {len(stale)} of {len(candidates)} scores are stale: their candidates or images have"
            f" changed since, first {stale[0]}; start the judge again"
        )
    if len({judgements[candidate.id].settings for candidate in candidates}) > 1:
        raise InputError(f"{SCORES}: the scores are of several judges or settings; start the judge again")


def select(
    candidates: Sequence[Candidate],
    judgements: Mapping[str, Judgement],
    composition: Composition,
    images: Mapping[Path, str],
    seed: int,
) -> Selection:
    """Choose the examples.

    Of a query the candidate with the highest total, among equals the first sampled; above the threshold
    alone; of queries with the same text about the same image, in whatever source, the best; of each source
    the best up to its quota. Equals are put in an order by a hash of their ids and `seed`, so that none is
    preferred for its place in a file. Golds are not looked at.

    Args:
        candidates: Of sources in the composition, each with its judgement in `judgements`.
        images: The digest of each stored image.
    """
    counts = {source.name: SourceCount() for source in composition.sources}
    answers: defaultdict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        answers[candidate.source, candidate.query].append(candidate)
    found = []
    for position, ((source, _), group) in enumerate(answers.items()):
        reasons = [why_not(candidate, judgements[candidate.id]) for candidate in group]
        counts[source].queries += 1
        counts[source].candidates += len(group)
        counts[source].rejected.update(reason for reason in reasons if reason is not None)
        fit = [
            _Best(candidate, judgements[candidate.id].scores[TOTAL], position)
            for candidate, reason in zip(group, reasons, strict=True)
            if reason is None
        ]
        if fit:
            found.append(max(fit, key=lambda each: (each.total, -each.candidate.sample)))

    def rank(best: _Best) -> tuple[float, str]:
        return -best.total, hashlib.sha256(f"{seed} {best.candidate.query}".encode()).hexdigest()

    above = sorted((each for each in found if each.total > composition.threshold), key=rank)
    taken: defaultdict[str, list[_Best]] = defaultdict(list)
    quotas = {source.name: source.quota for source in composition.sources}
    asked: set[tuple[str, str | None]] = set()
    for each in above:
        source = each.candidate.source
        counts[source].above_threshold += 1
        question = normalised(each.candidate.problem), images.get(each.candidate.image)
        if question in asked:
            counts[source].duplicates += 1
        elif counts[source].selected < quotas[source]:
            counts[source].selected += 1
            taken[source].append(each)
            asked.add(question)
    chosen = [
        each.candidate
        for source in composition.sources
        for each in sorted(taken[source.name], key=lambda each: each.position)
    ]
    return Selection(chosen, counts, [each.total for each in found])


def why_not(candidate: Candidate, judgement: Judgement) -> str | None:
    """Why a candidate can be no example, whatever its scores; `None` when it may be one."""
    reason = judgement.rejected or unfit(candidate)
    if reason is None:
        image = candidate.image.absolute() if candidate.image else None
        try:
            message_row(candidate.prompt, candidate.completion.strip(), image)
        except InputError:
            return MISREAD
    return reason
