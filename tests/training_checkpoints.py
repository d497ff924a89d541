"""Checkpoints as a trainer leaves them, on the weights of a base model, without having trained."""

import json
from pathlib import Path

import torch


def write_checkpoint(
    folder: Path, base: Path, step: int, max_steps: int = 8, processes: int = 1, without: tuple[str, ...] = ()
) -> Path:
    """Write `checkpoint-STEP` below a run's folder, without the files named."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for path in base.iterdir():
        (checkpoint / path.name).write_bytes(path.read_bytes())
    ranks = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    for name in ("optimizer.pt", "scheduler.pt", *ranks):
        torch.save({}, checkpoint / name)
    state = {"global_step": step, "max_steps": max_steps}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    for name in without:
        (checkpoint / name).unlink()
    return checkpoint
