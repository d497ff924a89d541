"""`python eval/evaluate.py --help`."""

from curr_reft.evaluation.evaluate import main

if __name__ == "__main__":
    main()
