"""Answer and score held-out rows with a checkpoint, an adapter, a hub model, or all checkpoints of a run.

Started again it goes on where it stopped: an answer that is there, by the same weights to the same prompt and
picture under the same settings, is not asked for again.
"""

import functools
import hashlib
import json
import logging
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from curr_reft.annotate import Row
from curr_reft.atomic_file import replacing
from curr_reft.errors import InputError, command
from curr_reft.evaluation import strict
from curr_reft.evaluation.compare import compare
from curr_reft.evaluation.endpoint import EndpointError
from curr_reft.evaluation.flags import parse_evaluation
from curr_reft.evaluation.generation import Backend, Completion
from curr_reft.evaluation.journal import append, recover, sole_writer
from curr_reft.evaluation.processes import Processes, processes
from curr_reft.evaluation.questions import Asked, Pictures, read_suite
from curr_reft.evaluation.report.comparisons import Pair
from curr_reft.evaluation.report.tables import comparison_grid
from curr_reft.evaluation.scores_file import add_scores, read_scores, scores_table
from curr_reft.evaluation.scoring import score_predictions
from curr_reft.evaluation.subjects import Subject, find_subjects
from curr_reft.evaluation.suites import Suite, load_suites, select_suites
from curr_reft.manifest import sha256_of

logger = logging.getLogger(__name__)

AskedSuites = dict[Suite, tuple[list[Asked], str]]
"""The rows of each suite, and the digest of its file."""


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write ``SUITE.jsonl`` (a line per row) and ``scores.json`` for each checkpoint."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = parse_evaluation(__doc__.partition("\n")[0], argv)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False, highlight=False)
    if flags.compare:
        names = map(str, flags.compare)
        console.print(comparison_grid(Pair(*names, compare(*flags.compare, seed=flags.seed))).to_rich())
        return
    with processes() as team, ExitStack() as held:
        if team.rank:
            logging.getLogger().setLevel(logging.WARNING)
        suites = select_suites(load_suites(flags.suites_config), flags.suites)
        bad_checkpoints: dict[str, str] = {}
        subjects = find_subjects(flags, team, bad_checkpoints)
        for fault in bad_checkpoints.values():
            logger.error("cannot be scored: %s", fault)
        team.shared(lambda: held.enter_context(sole_writer(flags.output_dir)))
        pictures, faults = Pictures(), {}
        for subject in subjects:
            asked = team.shared(functools.partial(_read_suites, suites, subject, flags, pictures, faults))
            evaluate(subject, asked, flags, team)
            if team.rank == 0:
                console.print(scores_table(flags.output_dir / subject.folder))
    if faults or bad_checkpoints:
        what = [
            f"{kind} {', '.join(named)}"
            for kind, named in (("suites", faults), ("checkpoints", bad_checkpoints))
            if named
        ]
        raise InputError(f"not scored: {'; '.join(what)} (see above)")


def _read_suites(
    suites: Sequence[Suite], subject: Subject, flags: Namespace, pictures: Pictures, faults: dict[str, str]
) -> AskedSuites:
    """The rows of the suites that can be read; what is wrong with the others is said once, and kept."""
    asked = {}
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
                subject.box_frame,
                subject.processor,
                pictures,
            )
        except InputError as error:
            faults[suite.name] = str(error)
            logger.error("suite %s cannot be scored: %s", suite.name, error)
            continue
        asked[suite] = rows, sha256_of(flags.data_root / suite.json_path)
        unread = [row.id for row in rows if strict.score(suite.scoring, "", row.example).incident]
        if unread:
            logger.warning(
                "suite %s: %d golds cannot be read, first %s; answers to them count as wrong",
                *(suite.name, len(unread), unread[0]),
            )
    if not asked:
        raise InputError(
            f"no suite can be scored: {'; '.join(f'{name}: {why}' for name, why in faults.items())}"
        )
    return asked


def evaluate(subject: Subject, asked: AskedSuites, flags: Namespace, team: Processes) -> None:
    """Answer what is not answered yet, then score; weights are loaded when the first answer is needed."""
    folder = flags.output_dir / subject.folder
    team.shared(lambda: read_scores(folder))
    model_digest = team.shared(subject.digest)
    folder.mkdir(parents=True, exist_ok=True)
    backend: Backend | None = None
    for suite, (rows, file_digest) in asked.items():
        path = folder / f"{suite.name}.jsonl"
        digests = {row.id: _digest(model_digest, subject, row) for row in rows}
        key_of = functools.partial(_key_of, digests)
        there = team.shared(lambda path=path, key_of=key_of: set(recover(path, key_of)))
        missing = [row for row in rows if row.id not in there]
        if missing and backend is None:
            backend = subject.load()
        team.wait()
        started = time.monotonic()
        if not missing:
            logger.info("%s: all %d answers are there", path, len(rows))
        else:
            _answer(backend, missing, digests, path, f"{subject.about['name']}, {suite.name}", team)
        team.wait()
        seconds = time.monotonic() - started
        if team.rank == 0:
            answers = recover(path, key_of)
            predictions = [_prediction(row, answers[row.id], flags.data_root) for row in rows]
            scored, accuracy = score_predictions(suite.scoring, suite.task, predictions)
            with replacing(path) as file:
                file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in scored)
            about = {**subject.about, "model_digest": model_digest, "data_root": str(flags.data_root)}
            entry = {
                "task": suite.task,
                "domain": suite.domain,
                **asdict(accuracy),
                "json_path": suite.json_path,
                "sha256": file_digest,
                "rows_sha256": hashlib.sha256("\n".join(row.id for row in rows).encode()).hexdigest(),
                "settings": {**subject.settings, "sample_num": flags.sample_num, "seed": flags.seed},
                "answered_now": len(missing),
                "seconds": seconds if missing else None,
                "rows_per_second": len(missing) / seconds if missing else None,
            }
            add_scores(folder, about, suite.name, entry)


def _answer(
    backend: Backend,
    missing: Sequence[Asked],
    digests: dict[str, str],
    path: Path,
    title: str,
    team: Processes,
) -> None:
    """Ask, and have each answer on the disk before it counts."""
    saved, counting = 0, threading.Lock()
    with tqdm(total=len(missing), desc=title, unit="row", disable=team.rank > 0 or None) as progress:

        def save(answers: list[tuple[Asked, Completion]]) -> None:
            nonlocal saved
            append(
                path,
                (
                    {
                        "id": row.id,
                        "digest": digests[row.id],
                        "model_output": answer.text,
                        "new_tokens": answer.new_tokens,
                        "truncated": answer.truncated,
                    }
                    for row, answer in answers
                ),
            )
            with counting:
                saved += len(answers)
                # Others answer as many in the same time.
                progress.update(min(len(answers) * team.count, len(missing) - progress.n))

        try:
            backend.answer(missing, team, save)
        except EndpointError as error:
            counts = f"{saved} of {len(missing)} answers were saved; started again it goes on from there"
            raise EndpointError(f"{error} ({counts})") from error


def _digest(model_digest: str, subject: Subject, row: Asked) -> str:
    """Digest of everything that the answer to a row depends on."""
    return hashlib.sha256(json.dumps([model_digest, subject.settings, row.content]).encode()).hexdigest()[:32]


def _key_of(digests: dict[str, str], row: Row) -> str | None:
    """A row's id, if its answer still holds."""
    kinds = {"model_output": str, "truncated": bool, "new_tokens": int | None}
    if not all(isinstance(row[field], kind) for field, kind in kinds.items()):
        raise TypeError
    return row["id"] if digests.get(row["id"]) == row["digest"] else None


def _prediction(row: Asked, answer: Row, data_root: Path) -> Row:
    return {
        "id": row.id,
        "task": row.task,
        "problem": row.problem,
        "image": str(row.image.relative_to(data_root)),
        "frame": row.frame,
        "prompt": row.prompt,
        "model_output": answer["model_output"],
        "new_tokens": answer["new_tokens"],
        "truncated": answer["truncated"],
        "digest": answer["digest"],
        "example": row.example,
    }
