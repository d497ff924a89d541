"""The files between sampling, judging and selecting: one JSON object a line, joined by candidate ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.boxes import Size
from curr_reft.data.prompts import Request
from curr_reft.data.schema import BrokenLine, iter_objects, place
from curr_reft.errors import InputError
from curr_reft.evaluation.judge_reply import SCORES_FORM
from curr_reft.evaluation.judgements import Judgement, judgement_of

CANDIDATES, SCORES, JUDGE = "candidates.jsonl", "scores.jsonl", "judge.json"
"""File names in the folder that the three commands share."""


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


_OF_QUESTION = ("stage", "task", "problem", "prompt", "image", "shown", "solution")
_ASKED = ("id", "query", "source", "sample", *_OF_QUESTION)


def candidate_row(question: Request, sample: int, answer: dict[str, Any]) -> dict[str, Any]:
    """What `read_candidates` reads back: what was asked beside what its answer was saved with."""
    source, _, _ = question.id.partition("/")
    fields = {"id": f"{question.id}#{sample}", "query": question.id, "source": source, "sample": sample}
    fields |= {name: getattr(question, name) for name in _OF_QUESTION}
    return {**fields, "image": str(question.image) if question.image else None, **answer}


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
            judgement = judgement_of(row, SCORES_FORM.names)
        except (LookupError, TypeError):
            continue
        found[judgement.id] = judgement
    return found
