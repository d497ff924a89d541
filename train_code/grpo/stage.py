"""Any stage of the table in `curr_reft.stages`: `torchrun ... train_code/grpo/stage.py NAME [flags]`."""

import sys

from curr_reft.errors import InputError, command
from curr_reft.stages import STAGES
from curr_reft.training.run import run_stage
from curr_reft.training.trainer import CurriculumGRPOTrainer


@command
def main() -> None:
    """Train the stage that the first argument names."""
    stages = {name: stage for stage in STAGES.values() for name in (stage.name, stage.title)}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        sys.stdout.write(f"usage: stage.py {{{','.join(STAGES)}}} [flags; NAME --help lists them]\n")
        return
    if name not in stages:
        raise InputError(f"{name or 'no stage'}: name one of {', '.join(STAGES)} before the flags")

    class StageTrainer(CurriculumGRPOTrainer):
        """The shared trainer on the named stage."""

        stage = stages[name]

    run_stage(StageTrainer, sys.argv[2:])


if __name__ == "__main__":
    main()
