"""Judge and choice rows from open rows.

The release publishes its judge and choice rows but not how they were made. Here they are made so that
nothing but the image tells a right answer from a wrong one: wrong answers are right answers of other rows,
a box at its place and size in its own image (see `curr_reft.data.reformat.questions`). Detection rows
need one box; math rows that are multiple choice keep their own options, in another order.
"""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from curr_reft.answers.boxes import parse_boxes
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.options import LETTERS, listed_options, parse_gold_options, parse_options
from curr_reft.answers.region import extract_answer
from curr_reft.boxes import Size, box_fault, scale_box
from curr_reft.data.reformat.answer_kinds import UNIT_SIZE, Boxes, Kind, Labels, Letters, Values
from curr_reft.data.reformat.grouping import blocks
from curr_reft.data.reformat.listed_options import listed_labels
from curr_reft.data.reformat.math_values import is_comparable
from curr_reft.data.reformat.questions import OPTIONS, Choice, choices, judgements, label_choices, shuffled
from curr_reft.data.rows import BadRecord, Row, make_row
from curr_reft.data.schema import Example
from curr_reft.rewards.paper import score

_OFFERED_WHEN_UNKNOWN = "ABCD"


def judge_rows(
    examples: Sequence[Example], sizes: Mapping[Path, Size], image_root: Path, seed: int
) -> Iterator[Row | BadRecord]:
    """A claim about each open row's answer, to be answered by yes or no, half of them true for every task.

    Args:
        examples: Open rows; `sizes` holds the width and height of the images of detection rows.
        image_root: What the paths in the new rows are relative to.
        seed: Rows, sizes and seed determine the result.
    """

    def ask(example: Example, claim: str, answer: str) -> Row:
        problem = f"{example.problem} Is the answer {claim}? Use yes or no to answer."
        return _row(example, "judge", problem, answer, image_root)

    def questions(
        kind: Kind, block: Sequence[Example], rng: np.random.Generator
    ) -> Iterator[tuple[int, Row]]:
        for row, claim, truth in judgements(kind, rng):
            yield row, ask(block[row], claim, "yes" if truth else "no")

    return _build(examples, sizes, seed, "judge", questions)


def choice_rows(
    examples: Sequence[Example], sizes: Mapping[Path, Size], image_root: Path, seed: int
) -> Iterator[Row | BadRecord]:
    """A question with four options about each open row, one of them right, or several for label sets.

    Arguments as for `judge_rows`.
    """

    # Of the places of right options those left to deal, by kind and number of options.
    decks: defaultdict[tuple[type, int], list[int]] = defaultdict(list)

    def questions(
        kind: Kind, block: Sequence[Example], rng: np.random.Generator
    ) -> Iterator[tuple[int, Row | BadRecord]]:
        if isinstance(kind, Letters):
            yield from (reordered(row, kind.letters[row], block[row], rng) for row in range(len(block)))
            return
        if isinstance(kind, Labels):
            found = label_choices(kind, rng)
        else:
            found = choices(kind, decks[type(kind), OPTIONS], rng)
        for choice in found:
            yield choice.row, ask(block[choice.row], block[choice.row].problem, choice)

    def reordered(
        row: int, letter: str, example: Example, rng: np.random.Generator
    ) -> tuple[int, Row | BadRecord]:
        """A row that is multiple choice already, its options in another order."""
        own = listed_options(example.problem)
        if own is None:
            return row, BadRecord(example.id, "problem: its options are not listed from A on, a line each")
        if Values(own.options).clashes().sum() > len(own.options):
            return row, BadRecord(example.id, "problem: two of its options are equal")
        gold, options = LETTERS.index(letter), own.options
        ordered = [options[gold], *options[:gold], *options[gold + 1 :]]
        choice = shuffled(row, ordered, decks[Letters, len(options)], rng)
        return row, ask(example, own.before, choice, own.after)

    def ask(example: Example, before: str, choice: Choice, after: str = "") -> Row:
        options = [f"{letter}. {option}" for letter, option in zip(LETTERS, choice.options, strict=False)]
        problem = "\n".join(filter(None, [before, *options, after]))
        answer = ", ".join(LETTERS[place] for place in choice.right)
        return _row(example, "choice", problem, answer, image_root)

    return _build(examples, sizes, seed, "choice", questions)


def _row(example: Example, stage: str, problem: str, answer: str, image_root: Path) -> Row:
    image = os.path.relpath(example.image, image_root)
    return make_row(f"{stage}:{example.id}", problem, answer, example.task, image)


def _build(
    examples: Sequence[Example],
    sizes: Mapping[Path, Size],
    seed: int,
    stage: str,
    questions: Callable[
        [Kind, Sequence[Example], np.random.Generator], Iterator[tuple[int, Row | BadRecord]]
    ],
) -> Iterator[Row | BadRecord]:
    """Ask about all rows, kind by kind and block by block; rows come in the order of their open rows."""
    kinds: defaultdict[str, list[Example]] = defaultdict(list)
    outcomes: list[tuple[int, Row | BadRecord]] = []
    order = {example.id: place for place, example in enumerate(examples)}
    for example in examples:
        fault = _fault(example, sizes)
        if fault is None:
            kinds[_kind_name(example)].append(example)
        else:
            outcomes.append((order[example.id], BadRecord(example.id, fault)))
    progress = tqdm(total=len(order) - len(outcomes), desc=stage, unit="row", disable=None)
    for name, rows in kinds.items():
        rng = np.random.default_rng(random.Random(f"{seed}:{stage}:{name}").getrandbits(64))
        for indices in blocks(len(rows), rng):
            block = [rows[index] for index in indices]
            asked: Counter[int] = Counter()
            for row, new in questions(_KINDS[name](block, sizes), block, rng):
                asked[row] += 1
                if asked[row] > 1:
                    new["id"] += f"#{asked[row]}"
                outcomes.append((order[block[row].id], new))
            for row, example in enumerate(block):
                if row not in asked:
                    reason = "no wrong answer to it can be made, and no other row's answer is one"
                    outcomes.append((order[example.id], BadRecord(example.id, reason)))
            progress.update(len(block))
    progress.close()
    yield from (outcome for _, outcome in sorted(outcomes, key=lambda pair: pair[0]))


def _fault(example: Example, sizes: Mapping[Path, Size]) -> str | None:
    """Why nothing can be asked about an open row."""
    answer = _answer(example)
    if not answer:
        return "solution: an empty answer"
    if example.task == "detection":
        if example.image not in sizes:
            return "image: its image cannot be used"
        boxes = parse_boxes(answer)
        if boxes is None or len(boxes) != 1:
            return f"solution: expected one box with an area, found {answer[:60]!r}"
        fault = box_fault(boxes[0], sizes[example.image])
        if fault is not None:
            return fault
    if example.task == "classify" and not parse_labels(answer):
        return "solution: an empty label set"
    kind = _KINDS[_kind_name(example)]([example], sizes)
    if isinstance(kind, Letters) and kind.letters[0] not in kind.offered[0]:
        return f"solution: option {kind.letters[0]} is none of {', '.join(kind.offered[0])}"
    if isinstance(kind, Values) and not is_comparable(kind.texts[0]):
        return f"solution: the reward cannot compare {answer[:60]!r}"
    claim = kind.spell(0, 0)
    if score("open", example.task, f"<answer>{claim}</answer>", example.solution).reward < 1:
        return f"solution: {answer[:60]!r} becomes another answer where a question spells it, {claim[:60]!r}"
    return None


def _answer(example: Example) -> str:
    return extract_answer(example.solution) or ""


def _kind_name(example: Example) -> str:
    if example.task == "math":
        return "letters" if len(parse_gold_options(_answer(example)) or ()) == 1 else "values"
    return {"detection": "boxes", "classify": "labels"}[example.task]


def _boxes(block: Sequence[Example], sizes: Mapping[Path, Size]) -> Boxes:
    images = [sizes[example.image] for example in block]
    boxes = [
        scale_box(parse_boxes(_answer(example))[0], size, UNIT_SIZE)
        for example, size in zip(block, images, strict=True)
    ]
    return Boxes(np.clip(np.array(boxes), 0, 1), images, [str(example.image) for example in block])


def _labels(block: Sequence[Example], sizes: Mapping[Path, Size]) -> Labels:
    listed = [listed_labels(example.problem) for example in block]
    return Labels([parse_labels(_answer(example)) for example in block], frozenset().union(*listed))


def _values(block: Sequence[Example], sizes: Mapping[Path, Size]) -> Values:
    return Values([" ".join(_answer(example).split()) for example in block])


def _letters(block: Sequence[Example], sizes: Mapping[Path, Size]) -> Letters:
    letters = [min(parse_options(_answer(example))) for example in block]
    listed = [listed_options(example.problem) for example in block]
    offered = [_OFFERED_WHEN_UNKNOWN if own is None else LETTERS[: len(own.options)] for own in listed]
    return Letters(letters, offered)


_KINDS: dict[str, Callable[[Sequence[Example], Mapping[Path, Size]], Kind]] = {
    "boxes": _boxes,
    "labels": _labels,
    "values": _values,
    "letters": _letters,
}
