"""The flags of the pass@k command, checked before anything is read or asked."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import MODEL_KEY, chat_url
from curr_reft.evaluation.backends.threads import MAX_THREADS, check_threads
from curr_reft.files.cli import CommandParser
from curr_reft.stages import STAGES

JUDGE_KEY = "JUDGE_API_KEY"
_EPILOG = (
    f"API keys are read from the environment alone, {MODEL_KEY} for --model_url and {JUDGE_KEY} for\n"
    "--judge_url; they are sent as bearer tokens and written nowhere. Started again, the command asks only\n"
    "for what is missing."
)


def parse_flags(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The command's flags: `k_values` sorted, `num_samples`, `judge` and both URLs filled in.

    Raises:
        InputError: for a flag that is missing, out of its range or at odds with another.
    """
    arguments = _parser(description).parse_args(argv)
    arguments.k_values = _k_values(arguments.k_values)
    largest = arguments.k_values[-1]
    if arguments.num_samples is None:
        arguments.num_samples = largest
    _check_ranges(arguments)
    if largest > arguments.num_samples:
        raise InputError(
            f"--k_values: {largest} is above the {arguments.num_samples} samples of each problem"
            " (--num_samples); pass@k is estimated from at least k samples"
        )
    if arguments.temperature == 0 and arguments.num_samples > 1:
        raise InputError(
            f"--temperature 0: all {arguments.num_samples} samples of a problem would be equal; sample at a"
            " temperature above 0, or take --num_samples 1"
        )
    if not arguments.image_root.is_dir():
        raise InputError(f"--image_root {arguments.image_root}: no such directory")
    _check_endpoints(arguments)
    return arguments


def _parser(description: str | None) -> CommandParser:
    parser = CommandParser(
        description=description, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input_file", type=Path, required=True, help="rows in the released format")
    parser.add_argument(
        "--task_type",
        choices=tuple(STAGES),
        required=True,
        help="whose prompts, image budget and rule; in the names of the output files",
    )
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--k_values", default="1,2,4,8,16", help="separated by commas (default: %(default)s)")
    parser.add_argument("--num_samples", type=int, help="of each problem (default: the largest k)")
    parser.add_argument("--temperature", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=42, help="of requests and bootstrap (default: %(default)s)"
    )
    parser.add_argument("--image_root", type=Path, default=Path("/"), help="default: %(default)s")
    parser.add_argument(
        "--model_url", required=True, help="chat-completions address of the model, or its server's"
    )
    parser.add_argument("--model_name", required=True, help="as the server knows it")
    parser.add_argument(
        "--judge", choices=("rule", "llm"), help="default: llm where --judge_url is given, else rule"
    )
    parser.add_argument("--judge_url", help="chat-completions address of the judge model, or its server's")
    parser.add_argument("--judge_model", help="as its server knows it")
    parser.add_argument(
        "--threads",
        type=int,
        default=8,
        help=f"requests at a time, 1 to {MAX_THREADS} (default: %(default)s)",
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds (default: %(default)s)")
    parser.add_argument(
        "--attempts", type=int, default=6, help="how often a request is sent before it counts as failed"
    )
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


def _check_ranges(arguments: argparse.Namespace) -> None:
    for flag in ("num_samples", "max_new_tokens", "attempts"):
        if getattr(arguments, flag) < 1:
            raise InputError(f"--{flag} {getattr(arguments, flag)}: expected at least 1")
    check_threads(arguments.threads)
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed}: expected 0 or more")
    if not (arguments.temperature >= 0 and math.isfinite(arguments.temperature)):
        raise InputError(f"--temperature {arguments.temperature}: expected 0 or more")
    if not (arguments.timeout > 0 and math.isfinite(arguments.timeout)):
        raise InputError(f"--timeout {arguments.timeout}: expected seconds above 0")


def _check_endpoints(arguments: argparse.Namespace) -> None:
    for flag in ("model_name", "judge_model"):
        name = getattr(arguments, flag)
        if name is not None and not name.strip():
            raise InputError(f"--{flag}: empty")
    arguments.model_url = chat_url(arguments.model_url, "--model_url")
    if arguments.judge is None:
        arguments.judge = "rule" if arguments.judge_url is None else "llm"
    if arguments.judge == "llm":
        for flag in ("judge_url", "judge_model"):
            if getattr(arguments, flag) is None:
                raise InputError(f"--{flag}: missing; a judge model needs --judge_url and --judge_model")
        arguments.judge_url = chat_url(arguments.judge_url, "--judge_url")
