"""Stage 3 of the curriculum, open-ended questions: `torchrun ... train_code/grpo/stage3_open.py --help`."""

from curr_reft.stages import STAGES
from curr_reft.training.run import run_stage
from curr_reft.training.trainer import CurriculumGRPOTrainer


class OpenTrainer(CurriculumGRPOTrainer):
    """The shared trainer on open-ended questions."""

    stage = STAGES["open"]


if __name__ == "__main__":
    run_stage(OpenTrainer)
