"""Groups of rows that lend each other their answers.

In a group every row's answer is right for that row and wrong for the others. Questions whose wrong answers
are the right answers of the group's other rows therefore give nothing away: whatever a wrong answer looks
like, it is the right one elsewhere.
"""

import numpy as np

BLOCK = 1024
"""Rows among which groups are looked for at once; distances and clashes are matrices of this side."""
_COST_OF_A_REPEAT = 10.0
_TIE = 1e-6
_RETRIES = 8


def blocks(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The indices 0 to `count` - 1 in random order, in blocks of nearly equal size, at most `BLOCK` each."""
    return np.array_split(rng.permutation(count), max(1, -(-count // BLOCK)))


def group_rows(
    clash: np.ndarray, distance: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Put rows into groups of `size` in which no two clash, rows at a small distance together.

    Greedy: the row with the fewest partners chooses first. Where too many rows clash to find partners for
    each, a row that is left over is joined by others left over and by rows that have a group already, the
    least repeated ones first.

    Args:
        clash: Boolean `[n, n]`, symmetric: the answer of one is (nearly) right for the other.
        distance: Float `[n, n]`, symmetric, of the order of 1.
        rng: Breaks ties.

    Returns:
        The groups of rows that are in no other group; groups of left over rows and rows that are in another
        group as well; and the rows that clash with nearly all.
    """
    count = len(clash)
    open_to = ~clash
    np.fill_diagonal(open_to, False)
    groups, free = _partition(open_to, distance + _TIE * rng.random((count, count)), size, rng)
    for _ in range(_RETRIES):
        if free.sum() <= count % size:
            break
        # Less likeness, for more rows in groups.
        other = _partition(open_to, distance + rng.random((count, count)), size, rng)
        groups, free = min((groups, free), other, key=lambda found: found[1].sum())

    repeated, alone = [], []
    uses = np.zeros(count)
    everyone = np.ones(count, dtype=bool)
    for row in np.flatnonzero(free):
        if not free[row]:
            continue
        cost = distance[row] + _TIE * rng.random(count) + _COST_OF_A_REPEAT * (uses + ~free)
        group = _company(row, everyone, open_to, cost, distance, size)
        if group is None:
            alone.append(int(row))
        else:
            free[group] = False
            uses[group] += 1
            repeated.append(group)
    return groups, repeated, alone


def _partition(
    open_to: np.ndarray, distance: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[list[list[int]], np.ndarray]:
    """Groups in which no row is twice, and which rows are in none."""
    free = np.ones(len(open_to), dtype=bool)
    groups = []
    for row in np.lexsort((rng.random(len(free)), open_to.sum(axis=1))):
        if free[row]:
            group = _company(row, free, open_to, distance[row], distance, size)
            if group is not None:
                free[group] = False
                groups.append(group)
    return groups, free


def _company(
    row: int, candidates: np.ndarray, open_to: np.ndarray, cost: np.ndarray, distance: np.ndarray, size: int
) -> list[int] | None:
    """`row` and the cheapest candidates that fit it and each other, or `None`."""
    group = [int(row)]
    fitting = candidates & open_to[row]
    while len(group) < size:
        if not fitting.any():
            return None
        partner = int(np.where(fitting, cost, np.inf).argmin())
        group.append(partner)
        fitting = fitting & open_to[partner]
        cost = cost + distance[partner]
    return group
