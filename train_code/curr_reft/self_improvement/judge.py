"""Score candidates from 0 to 100 on four criteria: ``python -m curr_reft.self_improvement.judge``.

The criteria are the paper's: accuracy, logical consistency, format compliance, linguistic fluency. Its prompt
is unpublished; ours is ``judge_prompt.txt``. `--judge llm` asks a model behind any OpenAI-compatible URL,
`--judge rule` needs none (see ``rule_judge.py``). Started again, the command judges only what is missing.
"""

import argparse
import logging
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm.contrib.logging import logging_redirect_tqdm

from curr_reft.errors import InputError, command
from curr_reft.evaluation.backends.endpoint import ChatEndpoint, chat_url
from curr_reft.evaluation.backends.threads import MAX_THREADS, check_threads
from curr_reft.evaluation.pass_at_k.flags import JUDGE_KEY
from curr_reft.files import journal
from curr_reft.files.cli import CommandParser
from curr_reft.self_improvement import rule_judge
from curr_reft.self_improvement.judge_journal import JudgementFile
from curr_reft.self_improvement.judge_model import ModelJudge
from curr_reft.self_improvement.records import (
    CANDIDATES,
    CRITERIA,
    SCORES,
    TOTAL,
    Judgement,
    read_candidates,
)

logger = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write `SCORES` beside the candidates, and print what they come to."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = _parse(argv)
    candidates = read_candidates(flags.output_dir / CANDIDATES)
    judge = None
    if flags.judge == "llm":
        endpoint = ChatEndpoint(flags.judge_url, flags.judge_model, JUDGE_KEY, flags.timeout, flags.attempts)
        judge = ModelJudge(endpoint, flags.judge_attempts, images=not flags.no_images)
    else:
        rule_judge.check_golds(candidates)
    name, settings = (
        (judge.name, judge.settings) if judge is not None else (rule_judge.NAME, rule_judge.SETTINGS)
    )
    path = flags.output_dir / SCORES
    with journal.sole_writer(flags.output_dir), logging_redirect_tqdm():
        judgements = JudgementFile(path, candidates, name, settings, flags.ask_again)
        if judge is not None:
            judge.judge_missing(judgements, flags.threads)
        else:
            rule_judge.judge_missing(judgements)
    found = [judgements.by_candidate[candidate.id] for candidate in candidates]
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False, highlight=False)
    console.print(build_table(found, name))
    logger.info("wrote %s", path)


def build_table(judgements: Sequence[Judgement], judge: str) -> Table:
    """How many were judged, the mean of each criterion, and how many have no scores for which reason."""
    table = Table(title=f"{len(judgements)} candidates, judged by {judge}", title_justify="left")
    table.add_column("")
    table.add_column("candidates", justify="right")
    table.add_column("mean", justify="right")
    scores = [judgement.scores for judgement in judgements if judgement.scores is not None]
    for name in (*CRITERIA, TOTAL):
        mean = f"{sum(each[name] for each in scores) / len(scores):.1f}" if scores else "-"
        table.add_row(name, str(len(scores)), mean)
    for reason, count in Counter(each.rejected for each in judgements if each.rejected).most_common():
        table.add_row(f"rejected: {reason}", str(count), "-")
    return table


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
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
    model = parser.add_argument_group("--judge llm")
    model.add_argument("--judge_url", help="chat-completions address of the judge model, or its server's")
    model.add_argument("--judge_model", help="as its server knows it")
    model.add_argument(
        "--threads", type=int, default=16, help=f"requests at a time, 1 to {MAX_THREADS} (default: 16)"
    )
    model.add_argument("--timeout", type=float, default=600.0, help="seconds (default: 600)")
    model.add_argument(
        "--attempts", type=int, default=6, help="how often a request is sent before it counts as failed"
    )
    model.add_argument(
        "--judge_attempts",
        type=int,
        default=3,
        help="how often the judge is asked for a reply that can be read (default: 3)",
    )
    model.add_argument("--no_images", action="store_true", help="do not send images to the judge")
    model.add_argument("--ask_again", action="store_true", help="also for what was rejected")
    flags = parser.parse_args(argv)
    for flag in ("attempts", "judge_attempts"):
        if getattr(flags, flag) < 1:
            raise InputError(f"--{flag} {getattr(flags, flag)}: expected at least 1")
    check_threads(flags.threads)
    if not (flags.timeout > 0 and math.isfinite(flags.timeout)):
        raise InputError(f"--timeout {flags.timeout}: expected seconds above 0")
    if flags.judge == "llm":
        for flag in ("judge_url", "judge_model"):
            if not (getattr(flags, flag) or "").strip():
                raise InputError(f"--{flag}: missing; --judge llm needs --judge_url and --judge_model")
        flags.judge_url = chat_url(flags.judge_url, "--judge_url")
    elif flags.judge_url or flags.judge_model:
        raise InputError("--judge_url and --judge_model: only --judge llm asks a model")
    return flags


if __name__ == "__main__":
    main()
