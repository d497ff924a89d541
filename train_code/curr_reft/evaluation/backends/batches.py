"""Which turns are answered together, and by which process."""

import math
from collections.abc import Hashable, Mapping, Sequence

from curr_reft.evaluation.request import Turn
from curr_reft.processes import Processes


def batches_of(
    turns: Sequence[Turn],
    prompt_tokens: Mapping[str, int],
    picture_tokens: Mapping[str, int | None],
    most_rows: int,
    most_tokens: int,
    processes: Processes,
) -> list[list[Turn]]:
    """This process's share, in batches of like length, the longest first, so that memory runs out early.

    Turns about one picture stay together, and a process gets the same pictures of every suite that asks about
    them: what it has seen of them (`model_inputs`) is there when they are asked about again.

    Args:
        prompt_tokens: Of each `content`, its picture's counted.
        picture_tokens: Of each `content`; `None` without a picture.
        most_rows: Of a batch.
        most_tokens: Of a batch, padding counted; a prompt that is longer is answered alone.
    """
    groups: dict[Hashable, list[Turn]] = {}
    for turn in turns:
        groups.setdefault(turn.picture or turn.content, []).append(turn)
    # No process is left without work for the sake of a full batch.
    most_rows = min(most_rows, math.ceil(len(turns) / processes.count))
    pieces: list[list[Turn]] = []
    # By what the same pictures have in common in all suites: their sizes, and their order in the file.
    for group in sorted(groups.values(), key=lambda group: -(picture_tokens[group[0].content] or 0)):
        group.sort(key=lambda turn: -prompt_tokens[turn.content])
        pieces += [group[start : start + most_rows] for start in range(0, len(group), most_rows)]
    mine = sorted(
        pieces[processes.rank :: processes.count], key=lambda piece: -prompt_tokens[piece[0].content]
    )
    batches: list[list[Turn]] = []
    longest = 0
    for turn in (turn for piece in mine for turn in piece):
        longest = max(longest, prompt_tokens[turn.content])
        if not batches or len(batches[-1]) == most_rows or (len(batches[-1]) + 1) * longest > most_tokens:
            batches.append([])
            longest = prompt_tokens[turn.content]
        batches[-1].append(turn)
    return batches
