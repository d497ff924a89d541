"""Score candidates from 0 to 100 on four criteria: ``python -m curr_reft.self_improvement.judge``.

The criteria are the paper's: accuracy, logical consistency, format compliance, linguistic fluency. Its prompt
is unpublished; ours is ``judge_prompt.txt``. `--judge llm` asks a model behind any OpenAI-compatible URL,
`--judge rule` needs none (see ``rule_judge.py``). Started again, the command judges only what is missing.
"""

import argparse
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from curr_reft.errors import InputError, command
from curr_reft.evaluation.backends.endpoint import JUDGE_KEY
from curr_reft.evaluation.flags import (
    add_judge_flags,
    add_request_flags,
    check_judge_flags,
    check_request_flags,
)
from curr_reft.evaluation.judge import model_judge
from curr_reft.evaluation.judge_reply import CRITERIA, SCORES_FORM, TOTAL
from curr_reft.evaluation.judgements import Judgement, Judgements
from curr_reft.files import journal
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.manifest import environment
from curr_reft.files.tables import Table, console, to_rich
from curr_reft.self_improvement import rule_judge
from curr_reft.self_improvement.judged import PLACES, content_digests, image_digests, judge_by_model
from curr_reft.self_improvement.records import CANDIDATES, JUDGE, SCORES, read_candidates
from curr_reft.tasks.registry import add_tasks_flag

logger = logging.getLogger(__name__)

PROMPT = Path(__file__).with_name("judge_prompt.txt")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write `SCORES` and `JUDGE` beside the candidates, and print what they come to."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = parse_judge(argv)
    judge = model_judge(flags, SCORES_FORM, PLACES, images=not flags.no_images)
    listed = read_candidates(flags.output_dir / CANDIDATES)
    if judge is None:
        rule_judge.check_golds(listed)
        name, settings = rule_judge.NAME, rule_judge.settings()
    else:
        name, settings = judge.name, judge.settings
    path, candidates = flags.output_dir / SCORES, {each.id: each for each in listed}
    with journal.sole_writer(flags.output_dir), logging_redirect_tqdm():
        digests = content_digests(listed, image_digests(listed))
        judgements = Judgements(path, digests, SCORES_FORM.names, name, settings, flags.ask_again)
        if judge is None:
            rule_judge.judge_missing(judgements, candidates)
        else:
            judge_by_model(judge, judgements, candidates, flags.threads)
        found = [judgements.by_id[candidate.id] for candidate in listed]
        record = {
            "judge": flags.judge,
            **({} if judge is None else {**judge.about(), "images": judge.images}),
            "settings": settings,
            "candidates": len(found),
            "rejected": sum(each.scores is None for each in found),
            **environment(),
        }
        with replacing(flags.output_dir / JUDGE) as file:
            file.write(json.dumps(record, indent=2) + "\n")
    console().print(to_rich(build_table(found, name)))
    logger.info("wrote %s", path)


def build_table(judgements: Sequence[Judgement], judge: str) -> Table:
    """How many were judged, the mean of each criterion, and how many have no scores for which reason."""
    scores = [judgement.scores for judgement in judgements if judgement.scores is not None]
    rows = []
    for name in (*CRITERIA, TOTAL):
        mean = f"{sum(each[name] for each in scores) / len(scores):.1f}" if scores else "-"
        rows.append([name, str(len(scores)), mean])
    for reason, count in Counter(each.rejected for each in judgements if each.rejected).most_common():
        rows.append([f"rejected: {reason}", str(count), "-"])
    return Table(f"{len(judgements)} candidates, judged by {judge}", ["", "candidates", "mean"], rows)


def parse_judge(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags' values.

    Raises:
        InputError: for the first that is wrong.
    """
    parser = CommandParser(
        prog="python -m curr_reft.self_improvement.judge",
        description=__doc__.partition("\n")[0],
        epilog=f"The key to --judge_url is read from {JUDGE_KEY}; it is sent as a bearer token and written"
        " nowhere.",
    )
    parser.add_argument(
        "--output_dir", type=Path, required=True, metavar="WORK", help=f"folder of {CANDIDATES}"
    )
    parser.add_argument("--judge", choices=("rule", "llm"), required=True)
    parser.add_argument(
        "--no_images", "--no_pictures", action="store_true", help="do not send images to the judge"
    )
    parser.add_argument("--ask_again", action="store_true", help="also for what was rejected")
    add_tasks_flag(parser)
    add_judge_flags(parser, PROMPT)
    add_request_flags(parser)
    flags = parser.parse_args(argv)
    check_request_flags(flags)
    if flags.judge == "llm":
        check_judge_flags(flags)
    elif flags.judge_url or flags.judge_model or flags.judge_prompt != PROMPT:
        raise InputError("--judge_url, --judge_model and --judge_prompt: only --judge llm asks a model")
    return flags


if __name__ == "__main__":
    main()
