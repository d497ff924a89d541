"""Measure pass@k of a model behind a chat-completions URL: sample, judge, estimate, draw.

Each problem is asked --num_samples times. pass@k is the unbiased estimate for every k up to that number, and
nothing else: no value between two k is made up and no curve is moved. (The release names this command in its
README and does not contain it; its pass@k.py plots three CSV files, synthesises the points that were not
measured and adds 0.2 to one of the curves.)
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from tqdm.contrib.logging import logging_redirect_tqdm

from curr_reft.errors import command
from curr_reft.evaluation.backends.endpoint import MODEL_KEY, ChatEndpoint
from curr_reft.evaluation.pass_at_k.estimator import estimate
from curr_reft.evaluation.pass_at_k.flags import JUDGE_KEY, parse_flags
from curr_reft.evaluation.pass_at_k.judge import Verdicts, judge_by_model, judge_by_rule
from curr_reft.evaluation.pass_at_k.problems import Problem, read_problems
from curr_reft.evaluation.pass_at_k.results import build_table, read_records, write_results
from curr_reft.evaluation.pass_at_k.samples import Sample, Settings, collect_samples
from curr_reft.files import journal
from curr_reft.files.manifest import environment, sha256_of

logger = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write samples, verdicts, table, record and figure to the output directory, and print the table."""
    arguments = parse_flags(argv, __doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    problems = read_problems(arguments.input_file, arguments.image_root, arguments.task_type)
    # Another task type's file that cannot be drawn is found now, not when all is sampled.
    read_records(arguments.output_dir)
    with journal.sole_writer(arguments.output_dir), logging_redirect_tqdm():
        samples = _sample(arguments, problems)
        verdicts = _judge(arguments, problems, samples)
        counts = _counts(verdicts)
        estimates = estimate(counts, arguments.k_values, arguments.seed)
        record = _record(arguments, samples, counts)
        write_results(arguments.output_dir, record, estimates)
    if record["truncated"]:
        logger.warning(
            "%d of %d samples were cut off at --max_new_tokens %d",
            *(record["truncated"], record["samples"], arguments.max_new_tokens),
        )
    if record["unjudged"]:
        logger.warning(
            "%d of %d samples are unjudged: the judge gave no clear verdict, and they count in no estimate",
            *(record["unjudged"], record["samples"]),
        )
    if partial := [found.k for found in estimates if found.problems < len(problems)]:
        logger.warning(
            "k = %s: not all problems have so many judged samples; the mean of the others may be far off",
            ", ".join(map(str, partial)),
        )
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False, highlight=False)
    console.print(build_table(record, estimates))
    logger.info("wrote %s", arguments.output_dir)


def _sample(arguments: argparse.Namespace, problems: list[Problem]) -> list[list[Sample]]:
    settings = Settings(
        arguments.num_samples, arguments.temperature, arguments.max_new_tokens, arguments.seed
    )
    endpoint = ChatEndpoint(
        arguments.model_url, arguments.model_name, MODEL_KEY, arguments.timeout, arguments.attempts
    )
    path = arguments.output_dir / f"{arguments.task_type}_samples.jsonl"
    return collect_samples(problems, settings, endpoint, path, arguments.threads)


def _judge(arguments: argparse.Namespace, problems: list[Problem], samples: list[list[Sample]]) -> Verdicts:
    if arguments.judge == "rule":
        return judge_by_rule(problems, samples)
    endpoint = ChatEndpoint(
        arguments.judge_url, arguments.judge_model, JUDGE_KEY, arguments.timeout, arguments.attempts
    )
    path = arguments.output_dir / f"{arguments.task_type}_judgements.jsonl"
    return judge_by_model(problems, samples, endpoint, path, arguments.threads)


def _counts(verdicts: Verdicts) -> list[tuple[int, int]]:
    """Judged and right samples of each problem."""
    return [(sum(verdict is not None for verdict in row), row.count(True)) for row in verdicts]


def _record(
    arguments: argparse.Namespace, samples: list[list[Sample]], counts: list[tuple[int, int]]
) -> dict[str, Any]:
    total = len(samples) * arguments.num_samples
    judged, right = (sum(column) for column in zip(*counts, strict=True))
    return {
        "task_type": arguments.task_type,
        "model": arguments.model_name,
        "model_url": arguments.model_url,
        "judge": arguments.judge,
        "judge_model": arguments.judge_model if arguments.judge == "llm" else None,
        "num_samples": arguments.num_samples,
        "temperature": arguments.temperature,
        "max_new_tokens": arguments.max_new_tokens,
        "seed": arguments.seed,
        "input_file": str(arguments.input_file),
        "sha256": sha256_of(arguments.input_file),
        "problems": len(samples),
        "samples": total,
        "truncated": sum(sample.truncated for row in samples for sample in row),
        "unjudged": total - judged,
        "accuracy_of_samples": right / judged if judged else None,
        **environment(),
    }
