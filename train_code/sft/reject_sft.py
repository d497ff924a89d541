"""Self-improvement by fine-tuning on chosen answers: `python train_code/sft/reject_sft.py --help`."""

from curr_reft.sft.training import run_sft

if __name__ == "__main__":
    run_sft("reject_sft")
