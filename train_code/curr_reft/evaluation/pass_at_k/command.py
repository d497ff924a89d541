"""Measure pass@k of a model, weights here or a server: sample, judge, estimate, draw.

Each problem is asked --num_samples times. pass@k is the unbiased estimate for every k up to that number, and
nothing else: no value between two k is made up and no curve is moved. (The release names this command in its
README and does not contain it; its pass@k.py plots three CSV files, synthesises the points that were not
measured and adds 0.2 to one of the curves.)
"""

import argparse
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.contrib.logging import logging_redirect_tqdm

from curr_reft.data.images import check_images
from curr_reft.data.prompts import Request, request
from curr_reft.data.schema import read_examples
from curr_reft.errors import command
from curr_reft.evaluation.judge import ModelJudge, model_judge
from curr_reft.evaluation.judge_reply import VERDICT_FORM
from curr_reft.evaluation.models import EvaluatedModel
from curr_reft.evaluation.pass_at_k.estimator import estimate
from curr_reft.evaluation.pass_at_k.flags import parse_flags
from curr_reft.evaluation.pass_at_k.judge import PLACES, judge_by_model, judge_by_rule
from curr_reft.evaluation.pass_at_k.results import build_table, read_records, write_results
from curr_reft.evaluation.sampling import Samples, sample
from curr_reft.files.manifest import environment, sha256_of
from curr_reft.files.tables import console, to_rich
from curr_reft.processes import process_group
from curr_reft.rewards import paper
from curr_reft.stages import STAGES
from curr_reft.tasks.score import GoldError

logger = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write samples, verdicts, table, record and figure to the output directory, and print the table."""
    flags = parse_flags(argv, __doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    judge = model_judge(flags, VERDICT_FORM, PLACES)
    # Another task type's file that cannot be drawn is found now, not when all is sampled.
    read_records(flags.output_dir)
    stem = flags.output_dir / flags.task_type
    with ExitStack() as held, logging_redirect_tqdm():
        with process_group() as processes:
            path = Path(f"{stem}_samples.jsonl")
            samples = sample(flags, path, partial(_read, flags), processes, held, is_store=True)
        if samples is None:
            return
        if judge is None:
            verdicts = judge_by_rule(samples)
        else:
            verdicts = judge_by_model(samples, judge, Path(f"{stem}_judgements.jsonl"), flags.threads)
        # Judged and right samples of each problem.
        counts = [(sum(verdict is not None for verdict in row), row.count(True)) for row in verdicts]
        estimates = estimate(counts, flags.k_values, flags.seed)
        record = _record(flags, samples, judge, counts)
        write_results(flags.output_dir, record, estimates)
    _warn(flags, samples, record)
    if partly := [found.k for found in estimates if found.problems < len(counts)]:
        logger.warning(
            "k = %s: not all problems have so many judged samples; the mean of the others may be far off",
            ", ".join(map(str, partly)),
        )
    console().print(to_rich(build_table(record, estimates)))
    logger.info("wrote %s", flags.output_dir)


def _read(flags: argparse.Namespace, model: EvaluatedModel) -> list[Request]:
    """The rows of the file, with every gold and every image checked."""
    examples = read_examples(flags.input_file, flags.image_root)
    for example in examples:
        try:
            paper.check_gold(flags.task_type, example.task, example.solution)
        except GoldError as error:
            raise GoldError(f"{example.id}: {error}") from error
    sizes, _ = check_images(examples, allow_missing=False, hint="check --image_root")
    return [
        request(
            replace(example, id=Path(example.id).name),
            *(STAGES[flags.task_type], example.task, sizes[example.image], model.box_frame, model.processor),
        )
        for example in examples
    ]


def _record(
    flags: argparse.Namespace, samples: Samples, judge: ModelJudge | None, counts: list[tuple[int, int]]
) -> dict[str, Any]:
    total = len(counts) * flags.num_samples
    judged, right = (sum(column) for column in zip(*counts, strict=True))
    return {
        "task_type": flags.task_type,
        "model": flags.model_name or flags.model,
        "model_url": flags.model_url,
        "model_digest": samples.model_digest,
        "settings": samples.model.settings,
        "judge": flags.judge,
        "judge_model": None,
        **({} if judge is None else judge.about()),
        "num_samples": flags.num_samples,
        "temperature": flags.temperature,
        "max_new_tokens": flags.max_new_tokens,
        "seed": flags.seed,
        "input_file": str(flags.input_file),
        "sha256": sha256_of(flags.input_file),
        "problems": len(counts),
        "samples": total,
        "truncated": sum(answer["truncated"] for row in samples.answers for answer in row),
        "unjudged": total - judged,
        "accuracy_of_samples": right / judged if judged else None,
        **environment(),
    }


def _warn(flags: argparse.Namespace, samples: Samples, record: dict[str, Any]) -> None:
    if flags.num_samples > 1 and all(
        len({answer["model_output"] for answer in row}) == 1 for row in samples.answers
    ):
        logger.warning(
            "all %d samples of every problem are equal: a server may not sample at all (see do_sample and"
            " top_k in the model's generation_config.json); pass@k is then the same for every k",
            flags.num_samples,
        )
    if record["truncated"]:
        logger.warning(
            "%d of %d samples were cut off at --max_new_tokens %d",
            *(record["truncated"], record["samples"], flags.max_new_tokens),
        )
    if record["unjudged"]:
        logger.warning(
            "%d of %d samples are unjudged: the judge gave no clear verdict, and they count in no estimate",
            *(record["unjudged"], record["samples"]),
        )
