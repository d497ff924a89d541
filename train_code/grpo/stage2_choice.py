"""Stage 2 of the curriculum, multiple-choice questions: `torchrun ... grpo/stage2_choice.py --help`."""

from curr_reft.stages import STAGES
from curr_reft.training.run import run_stage
from curr_reft.training.trainer import CurriculumGRPOTrainer


class ChoiceTrainer(CurriculumGRPOTrainer):
    """The shared trainer on multiple-choice questions."""

    stage = STAGES["choice"]


if __name__ == "__main__":
    run_stage(ChoiceTrainer)
