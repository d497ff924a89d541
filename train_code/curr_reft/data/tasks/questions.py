"""Judge and choice questions about rows, as positions and texts; what a row is does not matter here.

Wrong answers are other rows' right answers (`curr_reft.data.tasks.grouping`), so that neither their look nor
their place tells them from right ones. Only a row whose answer clashes with every other row's gets made-up
ones.
"""

from collections.abc import Iterator
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from curr_reft.data.tasks.answer_kinds import Kind, Labels
from curr_reft.data.tasks.grouping import group_rows

OPTIONS = 4
_BARRED = 1e6
_TIE = 1e-6


class Judgement(NamedTuple):
    """A claim about the answer to row `row`, and whether it is true."""

    row: int
    claim: str
    truth: bool


class Choice(NamedTuple):
    """Options for row `row`, in the order they are shown, and the positions of the right ones."""

    row: int
    options: list[str]
    right: list[int]


def judgements(kind: Kind, rng: np.random.Generator) -> Iterator[Judgement]:
    """As many true as false claims: one about each row, more where too many rows share an answer.

    A random half of the rows is asked about their own answers; the others exchange theirs, like for like. A
    row of these that finds no lender, for all of them clash with it, is asked about its own answer, and two
    other rows about it too, so that every answer stays as often false as true.
    """
    clash, distance = kind.clashes(), kind.distances()
    np.fill_diagonal(clash, True)
    rows = rng.permutation(np.flatnonzero(~clash.all(axis=1))).tolist()
    own, exchanging = rows[len(rows) // 2 :], rows[: len(rows) // 2]
    lenders = _exchange(kind, exchanging, clash, distance, rng)
    for row in own:
        yield Judgement(row, kind.spell(row, row), True)
    for row, lender in lenders.items():
        if lender is None:
            yield Judgement(row, kind.spell(row, row), True)
        else:
            yield Judgement(row, kind.spell(lender, row), False)
    crowded = [row for row, lender in lenders.items() if lender is None]
    # Of an odd number of rows, one more was asked about its own answer.
    for row in [*own[: len(rows) % 2], *crowded, *crowded]:
        others = (int(other) for other in rng.permutation(np.flatnonzero(~clash[row])))
        other = next((other for other in others if kind.confirm(row, other)), None)
        if other is not None:
            yield Judgement(other, kind.spell(row, other), False)
    for row in np.flatnonzero(clash.all(axis=1)).tolist():
        wrong = kind.make_up(row, 1, rng)
        if wrong is not None:
            yield Judgement(row, kind.spell(row, row), True)
            yield Judgement(row, wrong[0], False)


def _exchange(
    kind: Kind, rows: list[int], clash: np.ndarray, distance: np.ndarray, rng: np.random.Generator
) -> dict[int, int | None]:
    """Who lends each of `rows` an answer: every one lends once, to a like one, to `None` if all clash."""
    while True:
        barred = clash[np.ix_(rows, rows)]
        cost = np.where(barred, _BARRED, distance[np.ix_(rows, rows)]) + rng.uniform(0, _TIE, barred.shape)
        borrowers, lenders = linear_sum_assignment(cost)
        free = ~barred[borrowers, lenders]
        equal = [
            (rows[a], rows[b])
            for a, b in zip(borrowers[free], lenders[free], strict=True)
            if not kind.confirm(rows[a], rows[b])
        ]
        if not equal:
            return {
                rows[a]: rows[b] if lent else None
                for a, b, lent in zip(borrowers, lenders, free, strict=True)
            }
        for a, b in equal:
            clash[a, b] = clash[b, a] = True


def choices(kind: Kind, rng: np.random.Generator) -> Iterator[Choice]:
    """A question with four options and one right answer about each row.

    Four rows share their answers: each is asked with the same four, of which another one is right.
    """
    questions: list[tuple[int, list[str]]] = []
    fours, repeated, alone = _groups(kind, OPTIONS, rng)
    for group in chain(fours, repeated):
        for row in group:
            others = [other for other in group if other != row]
            questions.append((row, [kind.spell(lender, row) for lender in (row, *others)]))
    for row in alone:
        wrong = kind.make_up(row, OPTIONS - 1, rng)
        if wrong is not None:
            questions.append((row, [kind.spell(row, row), *wrong]))
    for (row, options), place in zip(questions, _places(len(questions), OPTIONS, rng), strict=True):
        yield shuffled(row, options, int(place), rng)


def shuffled(row: int, options: list[str], place: int, rng: np.random.Generator) -> Choice:
    """The options with the first, which is right, at `place` and the others in random order."""
    wrong = [options[index] for index in 1 + rng.permutation(len(options) - 1)]
    return Choice(row, [*wrong[:place], options[0], *wrong[place:]], [place])


def label_choices(labels: Labels, rng: np.random.Generator) -> Iterator[Choice]:
    """A question with four labels, of which one to three are right, about each row.

    Two rows are asked about the same four labels, each of which only one of the two has. Rows for which there
    is no such partner join three others that have no label in common, with one label of each; what is still
    left gets labels that it does not have.
    """
    only_first = labels.counts_in_first_only()
    alike = (only_first == 0) | (only_first.T == 0) | (only_first + only_first.T < OPTIONS)
    pairs, repeated, left = group_rows(alike, labels.distances(), 2, rng)
    for first, second in chain(pairs, repeated):
        mine, theirs = labels.only_in(first, second), labels.only_in(second, first)
        # Two of each where that is possible.
        count = int(np.clip(OPTIONS // 2, OPTIONS - len(theirs), len(mine)))
        shown = [*rng.permutation(mine)[:count], *rng.permutation(theirs)[: OPTIONS - count]]
        yield from (_label_choice(labels, row, shown, rng) for row in (first, second))
    yield from _lone_label_choices(labels, set(left), rng)


def _lone_label_choices(labels: Labels, left: set[int], rng: np.random.Generator) -> Iterator[Choice]:
    settled = np.array([row not in left for row in range(len(labels.sets))], dtype=float)
    in_common = labels.sizes()[:, None] > labels.counts_in_first_only()
    fours, repeated, _ = group_rows(in_common, settled[:, None] + settled[None], OPTIONS, rng)
    for group in chain(fours, repeated):
        if left.intersection(group):
            left.difference_update(group)
            shown = [rng.choice(labels.columns(row)) for row in group]
            yield from (_label_choice(labels, row, shown, rng) for row in group)
    for row in sorted(left):
        right, wrong = rng.permutation(labels.columns(row)), rng.permutation(labels.columns(row, absent=True))
        shown = [*right[: OPTIONS - 1], *wrong][:OPTIONS]
        if len(shown) == OPTIONS and len(wrong):
            yield _label_choice(labels, row, shown, rng)


def _label_choice(labels: Labels, row: int, columns: list[int], rng: np.random.Generator) -> Choice:
    shown = [labels.vocabulary[column] for column in rng.permutation(columns)]
    return Choice(row, shown, [place for place, label in enumerate(shown) if label in labels.sets[row]])


def _places(count: int, options: int, rng: np.random.Generator) -> np.ndarray:
    """The place of the right option in each question: every place equally often, in random order."""
    return rng.permutation(np.arange(count) % options)


def _groups(
    kind: Kind, size: int, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """`group_rows`, again until the reward's own comparison tells all answers of a group apart."""
    clash, distance = kind.clashes(), kind.distances()
    confirmed: set[tuple[int, int]] = set()
    while True:
        groups, repeated, alone = group_rows(clash, distance, size, rng)
        pairs = {pair for group in chain(groups, repeated) for pair in combinations(sorted(group), 2)}
        equal = [pair for pair in sorted(pairs - confirmed) if not kind.confirm(*pair)]
        if not equal:
            return groups, repeated, alone
        confirmed |= pairs.difference(equal)
        for a, b in equal:
            clash[a, b] = clash[b, a] = True
