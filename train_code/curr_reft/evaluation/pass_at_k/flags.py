"""The flags of the pass@k command, checked before anything is read or asked."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import JUDGE_KEY, MODEL_KEY
from curr_reft.evaluation.flags import (
    add_judge_flags,
    add_model_flags,
    add_sampling_flags,
    check_folder,
    check_judge_flags,
    check_model_flags,
    check_sampling_flags,
)
from curr_reft.files.cli import CommandParser
from curr_reft.stages import STAGES

_EPILOG = (
    f"API keys are read from the environment alone, {MODEL_KEY} for --model_url and {JUDGE_KEY} for\n"
    "--judge_url; they are sent as bearer tokens and written nowhere. Started again, the command asks only\n"
    "for what is missing."
)
# The whole distribution, as servers are asked for.
_TOP_K = 0


def parse_flags(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The command's flags: `k_values` sorted, `num_samples`, `backend` and `judge` filled in.

    Raises:
        InputError: for a flag that is missing, out of its range or at odds with another.
    """
    flags = _parser(description).parse_args(argv)
    flags.k_values = _k_values(flags.k_values)
    largest = flags.k_values[-1]
    if flags.num_samples is None:
        flags.num_samples = largest
    if flags.backend is None:
        if flags.model and flags.model_url:
            raise InputError("--model and --model_url: name one, weights here or a server")
        flags.backend = "endpoint" if flags.model_url is not None else "transformers"
    check_sampling_flags(flags, _TOP_K)
    check_model_flags(flags)
    if largest > flags.num_samples:
        raise InputError(
            f"--k_values: {largest} is above the {flags.num_samples} samples of each problem"
            " (--num_samples); pass@k is estimated from at least k samples"
        )
    check_folder(flags, "image_root")
    if flags.judge is None:
        flags.judge = "rule" if flags.judge_url is None else "llm"
    if flags.judge == "llm":
        check_judge_flags(flags)
    return flags


def _parser(description: str | None) -> CommandParser:
    parser = CommandParser(
        description=description, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--input_file", type=Path, required=True, help="rows in the released format")
    what.add_argument(
        "--task_type",
        choices=tuple(STAGES),
        required=True,
        help="whose prompts, image budget and rule; in the names of the output files",
    )
    what.add_argument("--output_dir", type=Path, required=True)
    what.add_argument("--image_root", type=Path, default=Path("/"), help="default: %(default)s")
    what.add_argument("--k_values", default="1,2,4,8,16", help="separated by commas (default: %(default)s)")
    what.add_argument(
        "--judge", choices=("rule", "llm"), help="default: llm where --judge_url is given, else rule"
    )
    add_sampling_flags(parser, num_samples=None, top_k=_TOP_K)
    add_model_flags(parser)
    add_judge_flags(parser, Path(__file__).with_name("judge_prompt.txt"))
    # The backend's default depends on --model_url.
    parser.set_defaults(final_only=True, prompts="training", backend=None)
    return parser


def _k_values(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    # Nine digits are more than anyone samples; thousands would be an error of int().
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise InputError(
            f"--k_values {text[:40]!r}: expected positive integers separated by commas, as in 1,4,16"
        )
    values = sorted(int(part) for part in parts)
    if len(set(values)) < len(values):
        raise InputError(f"--k_values {text}: a value is there twice")
    return values
