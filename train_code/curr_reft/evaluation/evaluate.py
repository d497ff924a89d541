"""Answer and score held-out rows with a checkpoint, an adapter, a hub model, or all checkpoints of a run.

Started again it goes on where it stopped: an answer that is there, by the same weights to the same prompt and
image under the same settings, is not asked for again.
"""

import functools
import hashlib
import json
import logging
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from curr_reft.data.prompts import Request
from curr_reft.data.suites import Suite, load_suites, select_suites
from curr_reft.errors import InputError, command
from curr_reft.evaluation.answers import Answers, fields_of
from curr_reft.evaluation.compare import compare
from curr_reft.evaluation.flags import parse_evaluation
from curr_reft.evaluation.models import EvaluatedModel, find_models
from curr_reft.evaluation.report.comparisons import Pair
from curr_reft.evaluation.report.tables import comparison_table
from curr_reft.evaluation.requests import Images, read_suite
from curr_reft.evaluation.scores_file import add_scores, read_scores, scores_table
from curr_reft.evaluation.scoring import score_predictions
from curr_reft.files.atomic import replacing
from curr_reft.files.journal import sole_writer
from curr_reft.files.json import Row
from curr_reft.files.manifest import sha256_of
from curr_reft.files.tables import console, to_rich
from curr_reft.processes import ProcessGroup, process_group

logger = logging.getLogger(__name__)

SuiteRequests = dict[Suite, tuple[list[Request], str]]
"""What is asked of each suite's rows, and the digest of its file."""


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write ``SUITE.jsonl`` (a line per row) and ``scores.json`` for each checkpoint."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = parse_evaluation(__doc__.partition("\n")[0], argv)
    terminal = console()
    if flags.compare:
        names = map(str, flags.compare)
        pair = Pair(*names, compare(*flags.compare, seed=flags.seed))
        terminal.print(to_rich(comparison_table(pair)))
        return
    with process_group() as processes, ExitStack() as held:
        if processes.rank:
            logging.getLogger().setLevel(logging.WARNING)
        suites = select_suites(load_suites(flags.suites_config), flags.suites)
        bad_checkpoints: dict[str, str] = {}
        models = find_models(flags, processes, bad_checkpoints)
        for fault in bad_checkpoints.values():
            logger.error("cannot be scored: %s", fault)
        processes.shared(lambda: held.enter_context(sole_writer(flags.output_dir)))
        images, faults = Images(), {}
        for model in models:
            read = functools.partial(_read_suites, suites, model, flags, images, faults)
            evaluate(model, processes.shared(read), flags, processes)
            if processes.rank == 0:
                terminal.print(to_rich(scores_table(flags.output_dir / model.folder)))
    if faults or bad_checkpoints:
        what = [
            f"{kind} {', '.join(named)}"
            for kind, named in (("suites", faults), ("checkpoints", bad_checkpoints))
            if named
        ]
        raise InputError(f"not scored: {'; '.join(what)} (see above)")


def _read_suites(
    suites: Sequence[Suite], model: EvaluatedModel, flags: Namespace, images: Images, faults: dict[str, str]
) -> SuiteRequests:
    """The rows of the suites that can be read; what is wrong with the others is said once, and kept."""
    found = {}
    for suite in suites:
        if suite.name in faults:
            continue
        try:
            rows = read_suite(
                suite,
                flags.data_root,
                flags.prompts,
                flags.sample_num,
                flags.seed,
                model.box_frame,
                model.processor,
                images,
            )
        except InputError as error:
            faults[suite.name] = str(error)
            logger.error("suite %s cannot be scored: %s", suite.name, error)
            continue
        found[suite] = rows, sha256_of(flags.data_root / suite.json_path)
        unread = [row.id for row in rows if suite.rules.score("", row.golds).incident]
        if unread:
            logger.warning(
                "suite %s: %d golds cannot be read, first %s; answers to them count as wrong",
                *(suite.name, len(unread), unread[0]),
            )
    if not found:
        raise InputError(
            f"no suite can be scored: {'; '.join(f'{name}: {why}' for name, why in faults.items())}"
        )
    return found


def evaluate(model: EvaluatedModel, suites: SuiteRequests, flags: Namespace, processes: ProcessGroup) -> None:
    """Answer what is not answered yet, then score; weights are loaded when the first answer is needed."""
    folder = flags.output_dir / model.folder
    processes.shared(lambda: read_scores(folder))
    model_digest = processes.shared(model.digest)
    folder.mkdir(parents=True, exist_ok=True)
    # One model answers all suites, and its weights are loaded when the first answer is needed.
    load = functools.cache(model.load)
    for suite, (rows, file_digest) in suites.items():
        path = folder / f"{suite.name}.jsonl"
        answers = Answers(path, rows, model_digest, model.settings)
        progress = f"{model.about['name']}, {suite.name}"
        count, seconds = answers.collect(load, progress, processes)
        if processes.rank == 0:
            found = answers.read()
            predictions = [_prediction(suite, row, found[row.id], flags.data_root) for row in rows]
            scored, accuracy = score_predictions(suite.scoring, predictions)
            with replacing(path) as file:
                file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in scored)
            about = {**model.about, "model_digest": model_digest, "data_root": str(flags.data_root)}
            entry = {
                "task": suite.task,
                "domain": suite.domain,
                **asdict(accuracy),
                "json_path": suite.json_path,
                "sha256": file_digest,
                "rows_sha256": hashlib.sha256("\n".join(row.id for row in rows).encode()).hexdigest(),
                "settings": {**model.settings, "sample_num": flags.sample_num, "seed": flags.seed},
                "answered_now": count,
                "seconds": seconds if count else None,
                "rows_per_second": count / seconds if count else None,
            }
            add_scores(folder, about, suite.name, entry)


def _prediction(suite: Suite, row: Request, answer: Row, data_root: Path) -> Row:
    return {
        "id": row.id,
        "task": suite.task,
        "problem": row.problem,
        "image": str(row.image.relative_to(data_root)),
        "frame": row.frame,
        "prompt": row.prompt,
        **fields_of(answer),
        "example": row.golds,
    }
