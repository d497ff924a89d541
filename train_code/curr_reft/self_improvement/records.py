"""The files between sampling, judging and selecting: one JSON object a line, joined by candidate ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.boxes import Size
from curr_reft.data.schema import BrokenLine, iter_objects, place
from curr_reft.errors import InputError

CANDIDATES, SCORES = "candidates.jsonl", "scores.jsonl"
"""File names in the folder that the three commands share."""
TOTAL = "total"
CRITERIA = ("accuracy", "logical_consistency", "format_compliance", "linguistic_fluency")
"""What a judge scores, each from 0 to 100 (paper, section 3.3)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer of the model to a query."""

    id: str
    """`QUERY#SAMPLE`."""
    query: str
    """`SOURCE/FILE:LINE`, FILE below the data root."""
    source: str
    sample: int
    stage: str
    task: str | None
    problem: str
    """The query without the stage's instruction, its boxes in the frame of `shown`."""
    prompt: str
    """What the model was asked."""
    image: Path | None
    """The stored image."""
    shown: Size | None
    """Width and height at which the model saw it."""
    solution: str | None
    """The query's gold, for judging alone; its boxes in the frame of `shown`."""
    completion: str
    truncated: bool
    """Whether the limit of tokens ended it."""


_ASKED = tuple(name for name in Candidate.__slots__ if name not in ("completion", "truncated"))


def candidate_row(candidate: Candidate, answer: dict[str, Any]) -> dict[str, Any]:
    """What `read_candidates` reads back: the query's fields beside those that the answer was saved with."""
    fields = {name: getattr(candidate, name) for name in _ASKED}
    return {**fields, "image": str(candidate.image) if candidate.image else None, **answer}


def read_candidates(path: Path) -> list[Candidate]:
    """The candidates that sampling wrote when it was through.

    Raises:
        InputError: when the file is missing, broken, or sampling was not through.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; python -m curr_reft.self_improvement.candidates makes it")
    candidates = [_candidate(place(path, number), row) for number, row in iter_objects(path)]
    if not candidates:
        raise InputError(f"{path}: holds no candidates")
    return candidates


def _candidate(where: str, row: Any) -> Candidate:
    if isinstance(row, BrokenLine) or not isinstance(row, dict):
        raise InputError(f"{where}: no JSON object")
    if missing := [name for name in (*_ASKED, "model_output", "truncated") if name not in row]:
        raise InputError(f"{where}: no {missing[0]}: sampling is not through; start it again")
    texts = ("id", "query", "source", "stage", "problem", "prompt", "model_output")
    wrong = [name for name in texts if not isinstance(row[name], str)]
    if wrong or type(row["sample"]) is not int:
        raise InputError(f"{where}: {(wrong or ['sample'])[0]}: of another type than sampling writes")
    fields = {name: row[name] for name in _ASKED}
    fields["image"] = Path(row["image"]) if row["image"] else None
    fields["shown"] = tuple(row["shown"]) if row["shown"] else None
    return Candidate(**fields, completion=row["model_output"], truncated=row["truncated"])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said about one candidate."""

    id: str
    """The candidate's."""
    digest: str
    """Of all that was judged: query, image, gold and completion."""
    judge: str
    """`rule`, or the model's name."""
    settings: str
    """Digest of how it was judged: by which rules, or which model, prompt and images."""
    scores: dict[str, float] | None
    """The criteria and `TOTAL`, each from 0 to 100; `None` when there are no scores."""
    rejected: str | None
    """Why there are no scores."""
    evidence: dict[str, Any]
    """What the scores rest on."""


def judgement_row(judgement: Judgement) -> dict[str, Any]:
    """What `judgement_of` reads back."""
    fields = {name: getattr(judgement, name) for name in Judgement.__slots__ if name != "scores"}
    return {**(judgement.scores or dict.fromkeys((*CRITERIA, TOTAL))), **fields}


def judgement_of(row: dict[str, Any]) -> Judgement:
    """The judgement that a row of the scores' file holds.

    Raises:
        LookupError, TypeError: when it holds none.
    """
    scores = {name: row[name] for name in (*CRITERIA, TOTAL)}
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


def read_judgements(path: Path) -> dict[str, Judgement]:
    """The judgements of a file by candidate, the last of each; lines that hold none (of a kill) are left out.

    Raises:
        InputError: when the file cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; python -m curr_reft.self_improvement.judge makes it")
    found = {}
    for _, row in iter_objects(path):
        try:
            judgement = judgement_of(row)
        except (LookupError, TypeError):
            continue
        found[judgement.id] = judgement
    return found
