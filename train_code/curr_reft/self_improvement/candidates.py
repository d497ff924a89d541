"""Sample a model's own answers to queries: ``python -m curr_reft.self_improvement.candidates``.

Each query is answered --num_samples times. Started again it goes on where it stopped; a larger --num_samples
asks for the new ones only. An answer depends on model, prompt, image, settings and --seed alone, not on its
batch, on the number of processes or on an interruption (in float32).
"""

import json
import logging
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from curr_reft.data.images import check_images
from curr_reft.data.prompts import Request, request
from curr_reft.data.schema import Query, iter_queries
from curr_reft.errors import InputError, command
from curr_reft.evaluation.answers import fields_of
from curr_reft.evaluation.backends.endpoint import MODEL_KEY
from curr_reft.evaluation.flags import (
    add_model_flags,
    add_sampling_flags,
    check_folder,
    check_model_flags,
    check_sampling_flags,
)
from curr_reft.evaluation.models import EvaluatedModel
from curr_reft.evaluation.sampling import Samples, sample
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.manifest import environment, sha256_of
from curr_reft.processes import process_group
from curr_reft.self_improvement.records import CANDIDATES, candidate_row
from curr_reft.self_improvement.sources import Composition, Source, load_composition
from curr_reft.sft.messages import message_row
from curr_reft.stages import STAGES

logger = logging.getLogger(__name__)

# As in training.
_TOP_K = 50
_ANY_ANSWER = "-"


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write `CANDIDATES` and a record of how they were made to the output folder."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    flags = parse_candidates(argv)
    composition = load_composition(flags.config)
    with ExitStack() as held, process_group() as processes, logging_redirect_tqdm():
        path = flags.output_dir / CANDIDATES
        samples = sample(flags, path, partial(_read, composition, flags.data_root), processes, held)
        if samples is not None:
            _write(flags, path, samples)


def parse_candidates(argv: Sequence[str] | None) -> Namespace:
    """The flags' values.

    Raises:
        InputError: for the first that is wrong.
    """
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
    add_sampling_flags(parser, num_samples=8, top_k=_TOP_K)
    add_model_flags(parser)
    parser.set_defaults(final_only=True, prompts="training")
    flags = parser.parse_args(argv)
    check_sampling_flags(flags, _TOP_K)
    check_model_flags(flags)
    check_folder(flags, "data_root")
    return flags


def _read(composition: Composition, data_root: Path, model: EvaluatedModel) -> list[Request]:
    """The queries of all sources, with every image checked."""
    queries = [(source, query) for source in composition.sources for query in _queries(source, data_root)]
    with_image = [query for _, query in queries if query.image is not None]
    sizes = check_images(with_image, allow_missing=False, hint="check --data_root")[0] if with_image else {}
    questions = []
    for source, query in queries:
        # The same wherever the data root is.
        place = source.json_path + query.id.removeprefix(str(data_root / source.json_path))
        question = request(
            query._replace(id=f"{source.name}/{place}"),
            *(STAGES[source.stage], source.task, sizes.get(query.image), model.box_frame, model.processor),
        )
        try:
            message_row(question.prompt, _ANY_ANSWER, query.image)
        except InputError as error:
            raise InputError(f"{query.id}: problem: {error}") from error
        questions.append(question)
    return questions


def _queries(source: Source, data_root: Path) -> Iterator[Query]:
    for query in iter_queries(data_root / source.json_path, data_root):
        if (query.image is None) != (source.modality == "text"):
            has = "no image" if query.image is None else "an image"
            raise InputError(
                f"{query.id}: has {has}, and source {source.name} is of modality {source.modality}"
            )
        yield query


def _write(flags: Namespace, path: Path, samples: Samples) -> None:
    with replacing(path) as file:
        for question, answers in zip(samples.questions, samples.answers, strict=True):
            for number, answer in enumerate(answers):
                row = candidate_row(question, number, fields_of(answer))
                file.write(json.dumps(row, allow_nan=False) + "\n")
    truncated = sum(answer["truncated"] for answers in samples.answers for answer in answers)
    record = {
        **samples.model.about,
        "model_digest": samples.model_digest,
        "settings": {**samples.model.settings, "num_samples": flags.num_samples, "seed": flags.seed},
        "config": str(flags.config),
        "config_sha256": sha256_of(flags.config),
        "data_root": str(flags.data_root),
        "queries": len(samples.questions),
        "candidates": len(samples.questions) * flags.num_samples,
        "truncated": truncated,
        **environment(),
    }
    with replacing(path.with_suffix(".json")) as file:
        file.write(json.dumps(record, indent=2) + "\n")
    logger.info(
        "%s: %d answers to %d queries, %d of them cut off at --max_new_tokens %d",
        *(path, record["candidates"], record["queries"], truncated, flags.max_new_tokens),
    )


if __name__ == "__main__":
    main()
