"""Sample a model's own answers to queries: ``python -m curr_reft.self_improvement.candidates``.

Each query is answered --num_samples times. Started again it goes on where it stopped; a larger --num_samples
asks for the new ones only. An answer depends on model, prompt, image, settings and --seed alone, not on its
batch, on the number of processes or on an interruption (in float32).
"""

import json
import logging
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from curr_reft.errors import InputError, command
from curr_reft.evaluation.answers import Answers, fields_of
from curr_reft.evaluation.backends.endpoint import MODEL_KEY
from curr_reft.evaluation.flags import add_model_flags, check_model_flags
from curr_reft.evaluation.models import EvaluatedModel, find_models
from curr_reft.evaluation.requests import Images
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.journal import sole_writer
from curr_reft.files.manifest import environment, sha256_of
from curr_reft.processes import process_group
from curr_reft.self_improvement.queries import candidates_of, read_queries, request_of
from curr_reft.self_improvement.records import CANDIDATES, Candidate, candidate_row
from curr_reft.self_improvement.sources import Composition, load_composition

logger = logging.getLogger(__name__)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write `CANDIDATES` and a record of how they were made to the output folder."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = _parse(argv)
    composition = load_composition(flags.config)
    with process_group() as processes, ExitStack() as held, logging_redirect_tqdm():
        if processes.rank:
            logging.getLogger().setLevel(logging.WARNING)
        model = find_models(flags, processes, {})[0]
        processes.shared(lambda: held.enter_context(sole_writer(flags.output_dir)))
        images = Images()
        candidates = processes.shared(lambda: _read(composition, flags, model, images))
        images = processes.shared(lambda: images)
        digest = processes.shared(model.digest)
        requests = [request_of(candidate, images, flags.seed) for candidate in candidates]
        answers = Answers(flags.output_dir / CANDIDATES, requests, digest, model.settings)
        answers.collect(model.load, "Sampling", processes)
        if processes.rank == 0:
            _write(flags, model, digest, candidates, answers)


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = CommandParser(
        prog="python -m curr_reft.self_improvement.candidates",
        description=__doc__.partition("\n")[0],
        epilog=f"An endpoint's key is read from {MODEL_KEY}.",
    )
    what = parser.add_argument_group("what is asked")
    what.add_argument(
        "--config", type=Path, required=True, help="sources of queries, as in configs/self_improvement"
    )
    what.add_argument("--data_root", type=Path, required=True, help="folder of queries and images")
    what.add_argument("--output_dir", type=Path, required=True)
    what.add_argument("--num_samples", type=int, default=8, help="answers to each query (default: 8)")
    what.add_argument("--temperature", type=float, default=1.0, help="default: 1, as in training")
    what.add_argument("--top_k", type=int, help="default: 50, as in training; endpoints know no such thing")
    what.add_argument("--seed", type=int, default=42)
    add_model_flags(parser)
    parser.set_defaults(final_only=True, prompts="training")
    flags = parser.parse_args(argv)
    if flags.backend == "endpoint" and flags.top_k:
        raise InputError("--top_k: an endpoint draws from all tokens")
    if flags.top_k is None:
        flags.top_k = 0 if flags.backend == "endpoint" else 50
    for name, least in (("num_samples", 1), ("top_k", 0), ("seed", 0)):
        if getattr(flags, name) < least:
            raise InputError(f"--{name} {getattr(flags, name)}: expected {least} or more")
    if not 0 <= flags.temperature <= 10 or (flags.temperature == 0 and flags.num_samples > 1):
        raise InputError(
            f"--temperature {flags.temperature}: expected up to 10, and more than 0 for several samples"
        )
    check_model_flags(flags)
    return flags


def _read(
    composition: Composition, flags: Namespace, model: EvaluatedModel, images: Images
) -> list[Candidate]:
    queries = {source: read_queries(source, flags.data_root) for source in composition.sources}
    images.look_at([query for rows in queries.values() for query in rows if query.image is not None])
    return [
        candidate
        for source, rows in queries.items()
        for candidate in candidates_of(
            *(source, rows, flags.num_samples, flags.data_root),
            *(images, model.box_frame, model.processor),
        )
    ]


def _write(
    flags: Namespace, model: EvaluatedModel, digest: str, candidates: Sequence[Candidate], answers: Answers
) -> None:
    found = answers.read()
    path = flags.output_dir / CANDIDATES
    with replacing(path) as file:
        for candidate in candidates:
            row = candidate_row(candidate, fields_of(found[candidate.id]))
            file.write(json.dumps(row, allow_nan=False) + "\n")
    truncated = sum(found[candidate.id]["truncated"] for candidate in candidates)
    record = {
        **model.about,
        "model_digest": digest,
        "settings": {**model.settings, "num_samples": flags.num_samples, "seed": flags.seed},
        "config": str(flags.config),
        "config_sha256": sha256_of(flags.config),
        "data_root": str(flags.data_root),
        "queries": len({candidate.query for candidate in candidates}),
        "candidates": len(candidates),
        "truncated": truncated,
        **environment(),
    }
    with replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps(record, indent=2) + "\n")
    logger.info(
        "%s: %d answers to %d queries, %d of them cut off at --max_new_tokens %d",
        *(path, len(candidates), record["queries"], truncated, flags.max_new_tokens),
    )


if __name__ == "__main__":
    main()
