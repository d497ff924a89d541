"""`python eval/report.py --help`."""

from curr_reft.evaluation.report.command import main

if __name__ == "__main__":
    main()
