"""What is judged of a candidate: all that a judgement rests on, and what a model is asked about it."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from curr_reft.answers.region import extract_answer
from curr_reft.boxes import Size
from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import data_uri
from curr_reft.evaluation.judge import ModelJudge
from curr_reft.evaluation.judgements import Judgements, Verdict, digest_of
from curr_reft.files.manifest import sha256_of
from curr_reft.self_improvement.records import Candidate
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of

PLACES = ("material",)
"""Of the judge's prompt."""
CUT_OFF, EMPTY = "cut off by the limit of tokens", "empty"
# What servers and processors act on wherever it stands: special tokens, and the places of images.
_MARKER = re.compile(r"<(?!/?(?:think|answer)>)(?=\||/?[A-Za-z_-]++>)")


def unfit(candidate: Candidate) -> str | None:
    """Why a candidate is no example whatever it says, `None` when it may be one."""
    if candidate.truncated:
        return CUT_OFF
    return None if candidate.completion.strip() else EMPTY


def image_digests(candidates: Sequence[Candidate]) -> dict[Path, str]:
    """The digest of each stored image that candidates are about.

    Raises:
        InputError: when one cannot be read.
    """
    paths = dict.fromkeys(candidate.image for candidate in candidates if candidate.image is not None)
    digests = {}
    for path in paths:
        try:
            digests[path] = sha256_of(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); candidates are about it") from error
    return digests


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


def shown_image(path: Path, stage: str, task: str | None, shown: Size) -> Image.Image:
    """A stored image at the size at which the model saw it.

    Raises:
        InputError: when it cannot be decoded, or is another than the one that was shown.
    """
    image = fit_to_budget(open_image(path), asking_of(STAGES[stage], task).budget)
    if image.size != shown:
        sizes = " and ".join("{}x{}".format(*size) for size in (shown, image.size))
        raise InputError(f"{path}: another image than the model was shown ({sizes} pixels); sample again")
    return image


def judge_by_model(
    judge: ModelJudge, judgements: Judgements, candidates: Mapping[str, Candidate], threads: int
) -> None:
    """Judge what is missing; what is unfit is rejected without being asked about.

    Raises:
        EndpointError: when the server fails; what came until then is saved.
        InputError: when an image cannot be used, or the file not be written.
    """
    firsts = [(digest, candidates[first]) for digest, (first, *_) in judgements.missing.items()]
    judgements.add(
        (digest, Verdict(None, {}, reason))
        for digest, candidate in firsts
        if (reason := unfit(candidate)) is not None
    )
    # Candidates of a query follow each other, and so share its image.
    uri_of = lru_cache(maxsize=threads)(lambda *shown: data_uri(shown_image(*shown)))

    def ask_about(item: str) -> tuple[str, str | None]:
        candidate = candidates[item]
        shown = (candidate.image, candidate.stage, candidate.task, candidate.shown)
        uri = uri_of(*shown) if judge.images and candidate.image is not None else None
        return judge.prompt.fill(material=material(candidate, judge.images)), uri

    judge.judge_missing(judgements, ask_about, threads)


def material(candidate: Candidate, images: bool) -> str:
    """What a judge is told about a candidate.

    What others wrote stands in one line of JSON, which no text can leave: quotes and line ends are escaped
    there, and so is the `<` of special tokens.
    """
    image_state = "none" if candidate.image is None else "shown" if images else "not shown"
    gold = candidate.solution
    told = {
        "query": candidate.prompt,
        "picture": image_state,
        "reference_answer": None if gold is None else extract_answer(gold) or gold,
        "response": candidate.completion,
    }
    line = _MARKER.sub(r"\\u003c", json.dumps(told, ensure_ascii=False))
    # JSON can spell half of a surrogate pair, which a request cannot carry; and two more ends of lines.
    line = line.encode(errors="replace").decode()
    return line.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029").replace("\x85", r"\u0085")
