"""Stage 2 of the curriculum, multiple-choice questions: `torchrun ... grpo/stage2_choice.py --help`."""

from curr_reft.stages import STAGES
from curr_reft.trainer import CurriculumGRPOTrainer
from curr_reft.training import run_stage


class ChoiceTrainer(CurriculumGRPOTrainer):
    """The shared trainer on multiple-choice questions."""

    stage = STAGES["choice"]


if __name__ == "__main__":
    run_stage(ChoiceTrainer)
