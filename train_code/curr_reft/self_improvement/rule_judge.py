"""The judge without a model: four rules. What each measures, from 0 to 100:

- accuracy: 100 when the paper's reward of the query's stage and task is 1 (`rewards.paper`), else 0; credit
  for a part of the answer is no right answer. The only one of the four that reads the gold.
- format_compliance: 100 when the completion is one block of thoughts and one of the answer and nothing else
  (`rewards.format`), else 0.
- logical_consistency: 100 when the thoughts state the answer given, 0 when they state only others, 50 when
  they state none (`judge_consistency`).
- linguistic_fluency: 100 times the share of its runs of four words that are not repeats of earlier ones. 0
  for a text that the limit of tokens cut off, that has no letter or digit, or that has a character which
  stands for no text (control characters, unassigned ones, the replacement character).

The total is their mean. So a wrong answer comes to 75 at most, and so does a badly formed one: a threshold of
75 or more takes right and well-formed answers alone. At the paper's 85, such an answer passes without stated
reasons (87.5 when it is fluent), and does not pass when its thoughts contradict it (75). Nothing here judges
whether steps are right, or prose is good: this judge makes the pipeline run where no model judge can be
asked, and is no substitute for one.
"""

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from curr_reft.errors import InputError
from curr_reft.evaluation.judge_reply import CRITERIA, TOTAL
from curr_reft.evaluation.judgements import Judgements, Verdict, digest_of
from curr_reft.files.manifest import sha256_of
from curr_reft.rewards import paper
from curr_reft.rewards.format import score_format
from curr_reft.self_improvement.judge_consistency import score_consistency
from curr_reft.self_improvement.records import Candidate
from curr_reft.tasks.registry import loaded_files
from curr_reft.tasks.score import MATH_TIMEOUT

logger = logging.getLogger(__name__)

NAME = "rule"
_VERSION = 2
"""To be raised with every change of a rule: scores of other versions are not kept."""
# Waiting for the disk after every one would take longer than judging.
_BATCH = 32
_TAGS = re.compile(r"</?(?:think|answer)>")
_RUN = 4
_NO_TEXT = frozenset(("Cc", "Cn", "Co", "Cs"))


class Fluency(NamedTuple):
    """A score from 0 to 100, and what it rests on."""

    score: float
    rule: str
    runs: int = 0
    """Of four words."""
    repeated: int = 0
    """Of them, those that were there before."""


def settings() -> str:
    """Digest of the rules, and of tasks of the user's own."""
    return digest_of([NAME, _VERSION, *map(sha256_of, loaded_files())])


def check_golds(candidates: Sequence[Candidate]) -> None:
    """Raise `InputError` for the first query whose gold the rules cannot read."""
    hint = "--judge llm judges such queries"
    for candidate in {candidate.query: candidate for candidate in candidates}.values():
        if candidate.task is None:
            raise InputError(f"{candidate.query}: source {candidate.source} names no task; {hint}")
        if candidate.solution is None:
            raise InputError(f"{candidate.query}: no solution, and accuracy is measured against it; {hint}")
        try:
            paper.check_gold(candidate.stage, candidate.task, candidate.solution)
        except InputError as error:
            raise InputError(f"{candidate.query}: {error}; {hint}") from error


def judge_missing(judgements: Judgements, candidates: Mapping[str, Candidate]) -> None:
    """Judge what is missing; to be called in the main thread, where math-verify is quickest.

    Raises:
        InputError: when the file cannot be written.
    """
    missing, timeouts = list(judgements.missing.items()), 0
    with tqdm(total=len(missing), desc="Judging", unit="candidate", disable=None) as progress:
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            verdicts = [(digest, judge(candidates[first])) for digest, (first, *_) in batch]
            judgements.add(verdicts)
            timeouts += sum("incident" in verdict.evidence["accuracy"] for _, verdict in verdicts)
            progress.update(len(batch))
    if timeouts:
        logger.warning("math-verify ran out of time on %d answers; they count as wrong", timeouts)


def judge(candidate: Candidate) -> Verdict:
    """The four scores of a candidate whose gold can be read, with the rules behind them, and their mean."""
    stage, task, text = candidate.stage, candidate.task, candidate.completion
    reward = paper.score(stage, task, text, candidate.solution)
    accuracy: dict[str, Any] = {"reward": reward.reward, **reward.explanation()}
    if reward.incident == MATH_TIMEOUT:
        accuracy["incident"] = reward.incident
    consistency = score_consistency(stage, task, candidate.problem, text)
    form = score_format(stage, task, text)
    fluency = score_fluency(text, candidate.truncated)
    found = (100.0 * (reward.reward == 1), float(consistency.score), 100.0 * form.reward, fluency.score)
    evidence = (accuracy, consistency._asdict(), {"rule": form.rule}, fluency._asdict())
    scores = dict(zip(CRITERIA, found, strict=True))
    return Verdict({**scores, TOTAL: sum(found) / len(found)}, dict(zip(CRITERIA, evidence, strict=True)))


def score_fluency(text: str, truncated: bool) -> Fluency:
    """How far a text does without repeats; 0 for what is no whole text (see above). Never raises."""
    if truncated:
        return Fluency(0.0, "cut off by the limit of tokens")
    odd = {c for c in set(text) - set("\n\r\t") if unicodedata.category(c) in _NO_TEXT or c == "\ufffd"}
    if odd:
        return Fluency(0.0, f"a character that stands for no text, U+{min(map(ord, odd)):04X}")
    words = re.findall(r"\w+", _TAGS.sub(" ", text).casefold())
    if not any(map(str.isalnum, "".join(words))):
        return Fluency(0.0, "no letter or digit")
    runs = list(zip(*(words[start:] for start in range(_RUN)), strict=False))
    repeated = len(runs) - len(set(runs))
    return Fluency(
        100 * (1 - repeated / len(runs)) if runs else 100.0, "runs of four words", len(runs), repeated
    )
