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

from curr_reft.answers.options import LETTERS, listed_options
from curr_reft.answers.region import extract_answer
from curr_reft.boxes import Size
from curr_reft.data.reformat.grouping import blocks
from curr_reft.data.reformat.questions import OPTIONS, Choice, choices, judgements, label_choices, shuffled
from curr_reft.data.rows import BadRecord, make_row
from curr_reft.data.schema import Example
from curr_reft.files.json import Row
from curr_reft.tasks.classification import Labels
from curr_reft.tasks.distractors import Distractors, OpenRow
from curr_reft.tasks.math import Letters, Values
from curr_reft.tasks.registry import find_task
from curr_reft.tasks.rule import find_gold, score_completion


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
        kind: Distractors, block: Sequence[Example], rng: np.random.Generator
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
        kind: Distractors, block: Sequence[Example], rng: np.random.Generator
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
        [Distractors, Sequence[Example], np.random.Generator], Iterator[tuple[int, Row | BadRecord]]
    ],
) -> Iterator[Row | BadRecord]:
    """Ask about all rows, kind by kind and block by block; rows come in the order of their open rows."""
    kinds: defaultdict[type[Distractors], list[Example]] = defaultdict(list)
    outcomes: list[tuple[int, Row | BadRecord]] = []
    order = {example.id: place for place, example in enumerate(examples)}
    for example in examples:
        row = _open_row(example, sizes)
        fault = _fault(example, row)
        if fault is None:
            kinds[find_task(example.task).distractors(row)].append(example)
        else:
            outcomes.append((order[example.id], BadRecord(example.id, fault)))
    progress = tqdm(total=len(order) - len(outcomes), desc=stage, unit="row", disable=None)
    for kind, rows in kinds.items():
        rng = np.random.default_rng(random.Random(f"{seed}:{stage}:{kind.name}").getrandbits(64))
        for indices in blocks(len(rows), rng):
            block = [rows[index] for index in indices]
            asked: Counter[int] = Counter()
            for row, new in questions(kind.of([_open_row(each, sizes) for each in block]), block, rng):
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


def _fault(example: Example, row: OpenRow) -> str | None:
    """Why nothing can be asked about an open row."""
    if not row.answer:
        return "solution: an empty answer"
    task = find_task(example.task)
    distractors = task.distractors(row)
    if fault := distractors.fault(row):
        return fault
    claim = distractors.of([row]).spell(0, 0)
    gold, rule = find_gold(task.rules, example.solution, f"task {task.name}")
    if score_completion(f"<answer>{claim}</answer>", gold, rule, "strict").reward < 1:
        return (
            f"solution: {row.answer[:60]!r} becomes another answer where a question spells it, {claim[:60]!r}"
        )
    return None


def _open_row(example: Example, sizes: Mapping[Path, Size]) -> OpenRow:
    answer = extract_answer(example.solution) or ""
    return OpenRow(example.problem, answer, str(example.image), sizes.get(example.image))
