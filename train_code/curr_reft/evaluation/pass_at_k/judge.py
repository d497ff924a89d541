"""Which samples are right: by the stage's rule, or by another model's verdict."""

import logging
from pathlib import Path

from tqdm import tqdm

from curr_reft.answers.region import extract_answer
from curr_reft.data.prompts import Request
from curr_reft.evaluation.judge import ModelJudge
from curr_reft.evaluation.judge_reply import CORRECT
from curr_reft.evaluation.judgements import Judgements, digest_of
from curr_reft.evaluation.sampling import Samples
from curr_reft.rewards import paper
from curr_reft.tasks.score import MATH_TIMEOUT

logger = logging.getLogger(__name__)

PLACES = ("question", "gold", "answer")
"""Of the judge's prompt."""
Verdicts = list[list[bool | None]]
"""Of each problem's samples: right, wrong, or not judged."""


def judge_by_rule(samples: Samples) -> Verdicts:
    """A sample is right when the paper's reward for its stage and task is 1; none stays without a verdict."""
    verdicts: Verdicts = []
    timeouts = 0
    rows = zip(samples.questions, samples.answers, strict=True)
    for problem, answers in tqdm(rows, "Judging", total=len(samples.questions), unit="problem", disable=None):
        texts = [answer["model_output"] for answer in answers]
        scores = {
            text: paper.score(problem.stage, problem.task, text, problem.solution) for text in set(texts)
        }
        timeouts += sum(scores[text].incident == MATH_TIMEOUT for text in texts)
        verdicts.append([scores[text].reward == 1 for text in texts])
    if timeouts:
        logger.warning("math-verify ran out of time on %d samples; they count as wrong", timeouts)
    return verdicts


def judge_by_model(samples: Samples, judge: ModelJudge, path: Path, threads: int) -> Verdicts:
    """A sample is right when the judge says so; equal answers to a question are judged once.

    Of a completion the judge reads the last closed answer block, or all of it where there is none (models
    that were not trained for it write none). An empty answer is wrong and not asked about. Verdicts are saved
    in `path` as they come, under the prompt that asks for them. A sample without one clear verdict is `None`,
    and asked about again the next time.

    Raises:
        EndpointError: when the server fails; what came until then is saved.
        InputError: when the file cannot be read or written.
    """
    prompts = [
        [_prompt(judge, problem, answer["model_output"]) for answer in answers]
        for problem, answers in zip(samples.questions, samples.answers, strict=True)
    ]
    digests = {prompt: digest_of(prompt) for row in prompts for prompt in row if prompt is not None}
    judgements = Judgements(path, digests, judge.form.names, judge.name, judge.settings, ask_again=True)
    judge.judge_missing(judgements, lambda prompt: (prompt, None), threads)

    def verdict(prompt: str | None) -> bool | None:
        if prompt is None:
            return False
        scores = judgements.by_id[prompt].scores
        return None if scores is None else scores[CORRECT] == 1

    return [list(map(verdict, row)) for row in prompts]


def _prompt(judge: ModelJudge, problem: Request, completion: str) -> str | None:
    """What the judge is asked about a sample, `None` for an empty answer."""
    answer = extract_answer(completion)
    answer = completion.strip() if answer is None else answer
    # JSON can spell half of a surrogate pair, which a request cannot carry.
    answer = answer.encode(errors="replace").decode()
    gold = extract_answer(problem.solution)
    return judge.prompt.fill(question=problem.problem, gold=gold, answer=answer) if answer else None
