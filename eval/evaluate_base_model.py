"""`python eval/evaluate_base_model.py --help`: the evaluator on what training starts from.

Stands for `muti_process_eval_for_base_model.py`, on the suites of the checkpoints it is compared with.
"""

import sys

from curr_reft.evaluation.evaluate import main

if __name__ == "__main__":
    main(["--model", "Qwen/Qwen2.5-VL-3B-Instruct", "--final_only", *sys.argv[1:]])
