"""`python eval/evaluate_refgta.py --help`: the evaluator on RefGTA (`single_process_eval_for_refgta.py`)."""

import sys

from curr_reft.evaluation.evaluate import main

if __name__ == "__main__":
    main(["--suites", "refgta", *sys.argv[1:]])
