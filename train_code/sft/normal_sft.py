"""The supervised baseline, fine-tuning on gold solutions: `python train_code/sft/normal_sft.py --help`."""

from curr_reft.sft.training import run_sft

if __name__ == "__main__":
    run_sft("normal_sft")
