"""What a training checkpoint holds beside its weights: all there, so that a run can go on from it?"""

import shutil
import zipfile
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.manifest import checkpoints_below

STATE_FILE = "trainer_state.json"
KEEP_VARIABLE = "CURR_REFT_RESUMABLE_CHECKPOINTS"
"""Tells a process that other commands start how many checkpoints keep their state; 0 for all."""
# Of a checkpoint, what only a run that goes on needs. DeepSpeed's folder is the one that `latest` names.
_STATE = (
    *("optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*.pth", "latest", "global_step*"),
    "zero_to_*.py",
)


def state_files(checkpoint: Path) -> list[Path]:
    """The files and folders that only a run that goes on needs."""
    return [path for pattern in _STATE for path in sorted(checkpoint.glob(pattern))]


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to the end: the trainer's own state is written last."""
    try:
        return isinstance(read_object(checkpoint / STATE_FILE).get("global_step"), int)
    except InputError:
        return False


def state_fault(checkpoint: Path, processes: int) -> str | None:
    """What keeps a run of so many processes from going on from a checkpoint, `None` when nothing does.

    Weights are not looked at (`curr_reft.models.weights`). Files are looked at no further than their ends,
    which a torn one lacks.
    """
    if not is_whole(checkpoint):
        return f"{STATE_FILE} is missing or broken"
    if (checkpoint / "latest").is_file():
        folder = checkpoint / (checkpoint / "latest").read_text(errors="replace").strip()
        shards = sorted(folder.glob("*optim_states.pt"))
        if len(shards) != processes:
            return f"{folder.name} holds the optimizer states of {len(shards)} of {processes} processes"
        needed = sorted(folder.glob("*.pt"))
    else:
        needed = [checkpoint / "optimizer.pt"]
        if not needed[0].is_file():
            return "it holds weights only (--save_only_model true), no state of the optimizer"
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    needed += [checkpoint / "scheduler.pt", *(checkpoint / name for name in names)]
    for path in needed:
        if not path.is_file():
            return f"{path.name} is missing"
        if not zipfile.is_zipfile(path):
            return f"{path.name} was not written to the end"
    return None


class KeepStateOfNewest(TrainerCallback):
    """Leaves the state that a run goes on from in the newest checkpoints, and weights in all.

    The optimizer's state is several times the weights. The best checkpoint, where it is to be loaded at the
    end, keeps it as well, for DeepSpeed loads one with its state or not at all.

    Args:
        count: How many checkpoints keep it.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs
    ) -> None:
        if not args.should_save:
            return
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        for checkpoint in checkpoints_below(Path(args.output_dir))[: -self._count]:
            if best is not None and checkpoint.name == Path(best).name:
                continue
            for path in state_files(checkpoint):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
