"""`python eval/pass_at_k.py --help`."""

from curr_reft.evaluation.pass_at_k.command import main

if __name__ == "__main__":
    main()
