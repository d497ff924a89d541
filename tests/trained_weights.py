"""How far two runs from the same weights ended from one another."""

from collections.abc import Mapping

import torch


def apart(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], start: Mapping) -> float:
    """Distance between the ends, as a part of the way from the start.

    Not the largest difference: where a gradient is 0 but for rounding, Adam moves in a direction of chance.
    """
    distance = sum((ours[name] - theirs[name]).square().sum() for name in start).sqrt()
    way = sum((start[name].float() - theirs[name]).square().sum() for name in start).sqrt()
    assert way > 0
    return float(distance / way)
