"""Judge and choice questions about rows, as positions and texts; what a row is does not matter here.

Wrong answers are other rows' right answers (`curr_reft.data.reformat.grouping`), so that neither their
look nor their place tells them from right ones. Only a row whose answer clashes with every other row's gets
made-up ones.
"""

from collections.abc import Iterator
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from curr_reft.data.reformat.grouping import group_rows
from curr_reft.tasks.classification import Labels
from curr_reft.tasks.distractors import Distractors

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


def judgements(kind: Distractors, rng: np.random.Generator) -> Iterator[Judgement]:
    """As many true as false claims: one about each row, more where too many rows share an answer.

    A random half of the rows is asked about their own answers; the others exchange theirs, like for like. A
    row of these that finds no lender, for all of them clash with it, is asked about its own answer, and two
    other rows about it too, so that every answer stays as often false as true.
    """
    clash, distance = kind.clashes(), kind.distances()
    np.fill_diagonal(clash, True)
    loans = None
    while loans is None:
        alone = clash.all(axis=1)
        rows = rng.permutation(np.flatnonzero(~alone)).tolist()
        own, exchanging = rows[len(rows) // 2 :], rows[: len(rows) // 2]
        exchanged = _exchange(kind, exchanging, clash, distance, rng)
        crowded = [row for row in exchanging if row not in exchanged]
        # Of an odd number of rows, one more is asked about its own answer.
        loans = _lend(kind, [*own[: len(rows) % 2], *crowded, *crowded], clash, rng)
    for row in chain(own, crowded):
        yield Judgement(row, kind.spell(row, row), True)
    for row, lender in chain(exchanged.items(), loans):
        yield Judgement(row, kind.spell(lender, row), False)
    for row in np.flatnonzero(alone).tolist():
        wrong = kind.make_up(row, 1, rng)
        if wrong is not None:
            yield Judgement(row, kind.spell(row, row), True)
            yield Judgement(row, wrong[0], False)


def _exchange(
    kind: Distractors, rows: list[int], clash: np.ndarray, distance: np.ndarray, rng: np.random.Generator
) -> dict[int, int]:
    """Who lends each of `rows` an answer, a like one: as many as possible lend once and borrow once."""
    while True:
        barred = clash[np.ix_(rows, rows)]
        cost = np.where(barred, _BARRED, distance[np.ix_(rows, rows)]) + rng.uniform(0, _TIE, barred.shape)
        pairs = zip(*linear_sum_assignment(cost), strict=True)
        lenders = {rows[a]: rows[b] for a, b in pairs if not barred[a, b]}
        equal = [pair for pair in lenders.items() if not kind.confirm(*pair, asker=pair[0])]
        if not equal:
            return lenders
        _bar(clash, equal)


def _lend(
    kind: Distractors, lenders: list[int], clash: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, int]] | None:
    """A borrower and the lender, for each of `lenders`; `None` when one of them turns out to clash with all.

    Who has borrowed least borrows next.
    """
    loans = []
    borrowed = np.zeros(len(clash))
    for lender in lenders:
        borrower = None
        while borrower is None:
            others = rng.permutation(np.flatnonzero(~clash[lender]))
            if not len(others):
                return None
            borrower = int(others[borrowed[others].argmin()])
            if not kind.confirm(borrower, lender, asker=borrower):
                _bar(clash, [(borrower, lender)])
                borrower = None
        borrowed[borrower] += 1
        loans.append((borrower, lender))
    return loans


def _bar(clash: np.ndarray, pairs: list[tuple[int, int]]) -> None:
    """Let pairs clash that turned out to be equal, and with them all that clash with one or the other.

    Without these, as many spellings of one number as there are rows would be compared two by two.
    """
    for a, b in pairs:
        first, second = clash[a].copy(), clash[b].copy()
        first[a] = second[b] = True
        clash[np.ix_(first, second)] = clash[np.ix_(second, first)] = True


def choices(kind: Distractors, deck: list[int], rng: np.random.Generator) -> Iterator[Choice]:
    """A question with four options and one right answer, at a place from `deck`, about each row.

    Four rows share their answers: each is asked with the same four, of which another one is right.
    """
    fours, repeated, alone = _groups(kind, OPTIONS, rng)
    questions: list[tuple[int, list[str]]] = []
    for group in chain(fours, repeated):
        for row in group:
            others = [other for other in group if other != row]
            questions.append((row, [kind.spell(lender, row) for lender in (row, *others)]))
    for row in alone:
        wrong = kind.make_up(row, OPTIONS - 1, rng)
        if wrong is not None:
            questions.append((row, [kind.spell(row, row), *wrong]))
    # In random order, or the four of a group would have their right options at four places.
    for index in rng.permutation(len(questions)):
        row, options = questions[index]
        yield shuffled(row, options, deck, rng)


def shuffled(row: int, options: list[str], deck: list[int], rng: np.random.Generator) -> Choice:
    """The options with the first, which is right, at the next place and the others in random order.

    Places are dealt, not drawn, so that every one is right equally often: `deck` holds those that are left of
    a round, and is for questions with equally many options.
    """
    if not deck:
        deck.extend(rng.permutation(len(options)).tolist())
    place = deck.pop()
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


def _groups(
    kind: Distractors, size: int, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """`group_rows`, again until the reward's own comparison tells all answers of a group apart."""
    clash, distance = kind.clashes(), kind.distances()
    while True:
        groups, repeated, alone = group_rows(clash, distance, size, rng)
        equal = [
            pair
            for group in chain(groups, repeated)
            for pair in combinations(group, 2)
            if not all(kind.confirm(*pair, asker) for asker in group)
        ]
        if not equal:
            return groups, repeated, alone
        _bar(clash, equal)
