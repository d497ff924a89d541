"""Stage 1 of the curriculum, yes-or-no questions: `torchrun ... train_code/grpo/stage1_judge.py --help`."""

from curr_reft.stages import STAGES
from curr_reft.training.run import run_stage
from curr_reft.training.trainer import CurriculumGRPOTrainer


class JudgeTrainer(CurriculumGRPOTrainer):
    """The shared trainer on yes-or-no questions."""

    stage = STAGES["judge"]


if __name__ == "__main__":
    run_stage(JudgeTrainer)
