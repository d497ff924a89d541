"""Which requests are answered together, and by which process."""

import math
from collections.abc import Hashable, Mapping, Sequence

from curr_reft.data.prompts import Request
from curr_reft.processes import ProcessGroup


def batches_of(
    requests: Sequence[Request],
    prompt_tokens: Mapping[str, int],
    image_tokens: Mapping[str, int | None],
    most_rows: int,
    most_tokens: int,
    processes: ProcessGroup,
) -> list[list[Request]]:
    """This process's share, in batches of like length, the longest first, so that memory runs out early.

    Requests about one image stay together, and a process gets the same images of every suite that asks about
    them: what it has seen of them (`model_inputs`) is there when they are asked about again.

    Args:
        prompt_tokens: Of each `content`, its image's counted.
        image_tokens: Of each `content`; `None` without an image.
        most_rows: Of a batch.
        most_tokens: Of a batch, padding counted; a prompt that is longer is answered alone.
    """
    groups: dict[Hashable, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.image or request.content, []).append(request)
    # No process is left without work for the sake of a full batch.
    most_rows = min(most_rows, math.ceil(len(requests) / processes.world_size))
    pieces: list[list[Request]] = []
    # By what the same images have in common in all suites: their sizes, and their order in the file.
    for group in sorted(groups.values(), key=lambda group: -(image_tokens[group[0].content] or 0)):
        group.sort(key=lambda request: -prompt_tokens[request.content])
        pieces += [group[start : start + most_rows] for start in range(0, len(group), most_rows)]
    mine = sorted(
        pieces[processes.rank :: processes.world_size], key=lambda piece: -prompt_tokens[piece[0].content]
    )
    batches: list[list[Request]] = []
    longest = 0
    for request in (request for piece in mine for request in piece):
        longest = max(longest, prompt_tokens[request.content])
        if not batches or len(batches[-1]) == most_rows or (len(batches[-1]) + 1) * longest > most_tokens:
            batches.append([])
            longest = prompt_tokens[request.content]
        batches[-1].append(request)
    return batches
