"""Stage 3 of the curriculum, open-ended questions: `torchrun ... train_code/grpo/stage3_open.py --help`."""

from curr_reft.stages import STAGES
from curr_reft.trainer import CurriculumGRPOTrainer
from curr_reft.training import run_stage


class OpenTrainer(CurriculumGRPOTrainer):
    """The shared trainer on open-ended questions."""

    stage = STAGES["open"]


if __name__ == "__main__":
    run_stage(OpenTrainer)
