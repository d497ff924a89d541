"""Is anything that a model is tested on in what it is trained on? ``python -m curr_reft.data.leaks``

Every held-out row is compared with every training row: by its text (case, white space and final punctuation
aside), by its image's path and bytes, and by how the image looks (a perceptual hash, which survives
another size or compression). A text that is asked of several images is a template, and its recurrence says
nothing. A judge or choice row asks the held-out question that it begins with.
"""

import json
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from curr_reft.data.image_copies import MAX_DISTANCE, HeldOutImages
from curr_reft.data.mixture import load_mixture
from curr_reft.data.schema import Example, Question, iter_questions
from curr_reft.data.suites import Suite, load_suites
from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.tables import Table, console, to_rich
from curr_reft.tasks.registry import add_tasks_flag

logger = logging.getLogger(__name__)

KINDS = ("question", "image", "look-alike", "text")
"""From worst to least: the same question about the same image; another about it; one about an image that
looks the same; the same text about another image. The last two are listed, and are no leak by themselves:
drawings that differ in a number look the same as well."""
_LEAKS = KINDS[:2]
Alike = Callable[[Path], dict[Path, str]]


@dataclass(frozen=True)
class Overlap:
    """A held-out row that a file of training rows gives away, and the first such training row."""

    suite: str
    held_out: str
    train_file: str
    train: str
    kind: str
    """One of `KINDS`, the worst found."""


def read_suites(suites: Iterable[Suite], data_root: Path) -> tuple[dict[str, list[Question]], list[str]]:
    """The questions of each suite, and why others cannot be read: training may go on without them."""
    found, unread = {}, []
    for suite in suites:
        try:
            found[suite.name] = list(iter_questions(data_root / suite.json_path, data_root))
        except InputError as error:
            unread.append(f"{suite.name} ({error})")
    return found, unread


def find_overlaps(
    train: Iterable[Example], suites: dict[str, list[Question]], alike: Alike = lambda path: {path: "image"}
) -> list[Overlap]:
    """The held-out rows that training rows give away, in the suites' order.

    Args:
        train: Gone through twice; memory grows with the suites, not with the training rows.
        alike: The held-out images that a training image is a copy of, and how; by default only itself.
    """
    rows = [(suite, question) for suite, questions in suites.items() for question in questions]
    texts = [normalised(question.problem) for _, question in rows]
    by_text, by_image = defaultdict(list), defaultdict(list)
    for index, (_, question) in enumerate(rows):
        by_text[texts[index]].append(index)
        by_image[question.image].append(index)
    templates = _templates(train, rows, by_text)
    worst: dict[tuple[int, str], tuple[int, str]] = {}
    for example in train:
        file = re.sub(r"(:\d+|\[\d+\])$", "", example.id)
        text = normalised(example.problem)
        for path, kind in alike(example.image).items():
            for index in by_image.get(path, ()):
                asked = texts[index]
                same_text = text == asked or text.startswith((f"{asked} ", f"{asked}? ", f"{asked}. "))
                certain = kind == "image" or asked not in templates
                _keep_worst(worst, index, file, "question" if same_text and certain else kind, example.id)
        if text not in templates:
            for index in by_text.get(text, ()):
                _keep_worst(worst, index, file, "text", example.id)
    return [
        Overlap(rows[index][0], rows[index][1].id, file, row, KINDS[rank])
        for (index, file), (rank, row) in sorted(worst.items())
    ]


def normalised(text: str) -> str:
    """A problem's text without what two spellings of it may differ in."""
    text = unicodedata.normalize("NFKC", text.replace("<image>", " ")).casefold()
    return " ".join(text.split()).rstrip(" .?!:")


def _keep_worst(
    worst: dict[tuple[int, str], tuple[int, str]], index: int, file: str, kind: str, train_row: str
) -> None:
    rank = KINDS.index(kind)
    if rank < worst.get((index, file), (len(KINDS), ""))[0]:
        worst[index, file] = rank, train_row


def _templates(
    train: Iterable[Example], rows: Sequence[tuple[str, Question]], by_text: dict[str, list[int]]
) -> set[str]:
    """The held-out texts that are asked of more than one image, in the suites or in training."""
    asked_of: dict[str, Path] = {}
    templates = set()
    held_out = ((text, rows[index][1].image) for text, indices in by_text.items() for index in indices)
    for text, image in held_out:
        if asked_of.setdefault(text, image) != image:
            templates.add(text)
    asked_of.clear()
    for example in train:
        text = normalised(example.problem)
        if text in by_text and asked_of.setdefault(text, example.image) != example.image:
            templates.add(text)
    return templates


def counts(overlaps: Iterable[Overlap]) -> dict[tuple[str, str], Counter[str]]:
    """How many held-out rows of each kind, by training file and suite."""
    found: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for overlap in overlaps:
        found[overlap.train_file, overlap.suite][overlap.kind] += 1
    return found


def summaries(overlaps: Sequence[Overlap], suites: dict[str, list[Question]]) -> list[str]:
    """One line for each training file that gives rows of a suite away."""
    lines = []
    for (file, suite), found in counts(overlaps).items():
        leaked = sum(found[kind] for kind in _LEAKS)
        if leaked:
            first = next(
                each
                for each in overlaps
                if (each.train_file, each.suite) == (file, suite) and each.kind in _LEAKS
            )
            lines.append(
                f"{file} gives away {leaked} of the {len(suites[suite])} held-out rows of {suite}"
                f" ({found['question']} with their question), first {first.train} and {first.held_out}"
            )
    return lines


def _table(overlaps: Sequence[Overlap], suites: dict[str, list[Question]], data_root: Path) -> Table:
    rows = [
        [
            os.path.relpath(file, data_root),
            suite,
            str(len(suites[suite])),
            *(str(found[kind]) for kind in KINDS),
        ]
        for (file, suite), found in counts(overlaps).items()
    ]
    columns = ["training file", "suite", "rows", *KINDS]
    return Table("Held-out rows that training rows give away", columns, rows, names=2)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the overlaps; with `--forbid_leaks` they make the exit code 2."""
    parser = CommandParser(prog="python -m curr_reft.data.leaks", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_name", type=Path, required=True, help="mixture YAML, see configs/data")
    parser.add_argument("--suites", type=Path, required=True, help="suites YAML, see configs/eval")
    parser.add_argument("--image_root", type=Path, required=True)
    parser.add_argument("--data_root", type=Path, help="folder of the row files (default: --image_root)")
    parser.add_argument(
        "--max_distance", type=int, default=MAX_DISTANCE, help="bits of 256 a copy may differ in"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.jsonl", help="write every overlap there")
    parser.add_argument("--forbid_leaks", action="store_true", help="exit with 2 when there is a leak")
    add_tasks_flag(parser)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.max_distance < 0:
        raise InputError(f"--max_distance {arguments.max_distance}: expected 0 or more bits")
    data_root = arguments.data_root or arguments.image_root
    train = load_mixture(arguments.dataset_name, data_root, arguments.image_root, seed=42).train
    suites, unread = read_suites(load_suites(arguments.suites), data_root)
    for suite in unread:
        logger.warning("not compared: %s", suite)
    if not suites:
        raise InputError(f"--suites {arguments.suites}: none of its files could be read below {data_root}")

    held_out = (question.image for questions in suites.values() for question in questions)
    images = HeldOutImages(held_out, arguments.max_distance)
    images.compare(example.image for example in train)
    overlaps = find_overlaps(train, suites, images.copies_of)
    console().print(to_rich(_table(overlaps, suites, data_root)))
    if arguments.report is not None:
        with replacing(arguments.report) as file:
            file.writelines(json.dumps(vars(overlap)) + "\n" for overlap in overlaps)
    if arguments.forbid_leaks and (unread or images.unopened):
        first = next(chain(unread, map(str, images.unopened)))
        raise InputError(f"--forbid_leaks: not all could be compared (named above), first {first}")
    found = summaries(overlaps, suites)
    for line in found:
        logger.warning(line)
    if found and arguments.forbid_leaks:
        raise InputError(f"{arguments.dataset_name}: held-out rows are in training (named above)")
    if not found:
        what = "what could be compared" if unread or images.unopened else f"{len(train)} training rows"
        logger.info("no leak found in %s", what)


if __name__ == "__main__":
    main()
