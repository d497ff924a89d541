"""The flags of `eval/evaluate.py`, and those of every command that asks a model."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from curr_reft.boxes import BoxFrame
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import MODEL_KEY
from curr_reft.evaluation.backends.threads import MAX_THREADS, check_threads
from curr_reft.evaluation.requests import PROMPTS
from curr_reft.files.cli import CommandParser
from curr_reft.tasks.registry import add_tasks_flag

BACKENDS = ("transformers", "vllm", "endpoint")
_MOST = 10**6
_REPOSITORY = Path(__file__).resolve().parents[3]


def evaluation_parser(description: str) -> CommandParser:
    """All flags, with their defaults."""
    parser = CommandParser(description=description, epilog=f"An endpoint's key is read from {MODEL_KEY}.")
    what = parser.add_argument_group("what is evaluated")
    what.add_argument(
        "--final_only", action="store_true", help="of a training run, score the final weights only"
    )
    what.add_argument(
        "--suites",
        nargs="+",
        default=["all"],
        metavar="SUITE",
        help="names of suites, tasks, domains (in, out), a task and domain as TASK_in, or all (the default)",
    )
    what.add_argument(
        "--suites_config",
        type=Path,
        default=_REPOSITORY / "configs/eval/released.yaml",
        metavar="FILE.yaml",
        help="which rows a suite has and how they are scored (default: configs/eval/released.yaml)",
    )
    what.add_argument(
        "--data_root",
        type=Path,
        default=_REPOSITORY / "grpo_sft_data/grpo_data",
        help="folder of rows and images (default: grpo_sft_data/grpo_data)",
    )
    what.add_argument("--output_dir", type=Path)
    what.add_argument("--sample_num", type=int, default=1000, help="rows of a suite, drawn by --seed")
    what.add_argument("--seed", type=int, default=42)
    what.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="instead of evaluating, compare two output folders row by row",
    )

    what.add_argument(
        "--prompts", choices=PROMPTS, default="training", help="or the released evaluator's own"
    )
    add_tasks_flag(what)
    add_model_flags(parser)
    parser.set_defaults(temperature=0.0, top_k=0)
    return parser


def add_model_flags(parser: CommandParser) -> None:
    """Add the flags of who answers, and how; `check_model_flags` checks them."""
    who = parser.add_argument_group("who answers, and how")
    who.add_argument("--model", help="checkpoint, LoRA adapter, hub id, or the folder of a training run")
    who.add_argument(
        "--box_frame",
        choices=get_args(BoxFrame),
        help="frame of the gold boxes (default: the one of the training run, by its manifest, or budget)",
    )
    who.add_argument("--max_new_tokens", type=int, default=256)
    who.add_argument(
        "--repetition_penalty",
        type=float,
        help="default: the checkpoint's generation_config, as in the release (Qwen2.5-VL's own is 1.05)",
    )
    who.add_argument("--backend", choices=BACKENDS, default="transformers")
    who.add_argument(
        "--batch_size",
        type=int,
        default=256,
        help="most rows of a batch; fewer where they are long, or memory runs out",
    )
    who.add_argument("--torch_dtype", choices=("auto", "bfloat16", "float16", "float32"), default="auto")
    who.add_argument("--attn_implementation", help="of transformers, such as sdpa or flash_attention_2")
    who.add_argument("--tensor_parallel_size", type=int, default=1, help="GPUs that vLLM takes")
    who.add_argument("--model_url", help="address of an endpoint: a server, or its full /v1/chat/completions")
    who.add_argument("--model_name", help="the model's name at the endpoint")
    who.add_argument("--threads", type=int, default=16, help=f"requests at a time, 1 to {MAX_THREADS}")
    who.add_argument("--timeout", type=float, default=600, help="seconds that an endpoint may stay silent")
    who.add_argument(
        "--attempts", type=int, default=6, help="how often a request is sent before it has failed"
    )


def parse_evaluation(description: str, argv: Sequence[str] | None) -> Namespace:
    """The flags' values, checked as far as they tell by themselves.

    Raises:
        InputError: for the first that is wrong.
    """
    flags = evaluation_parser(description).parse_args(argv)
    if flags.seed < 0:
        raise InputError(f"--seed {flags.seed}: expected 0 or more")
    if flags.compare:
        return flags
    if not 0 < flags.sample_num <= _MOST:
        raise InputError(f"--sample_num {flags.sample_num}: expected more than 0, up to {_MOST}")
    check_model_flags(flags)
    return flags


def check_model_flags(flags: Namespace) -> None:
    """Check the flags of `add_model_flags`, and that of the data and output folders.

    Raises:
        InputError: for the first that is wrong.
    """
    for name in ("max_new_tokens", "batch_size", "tensor_parallel_size", "attempts", "timeout"):
        if not 0 < getattr(flags, name) <= _MOST:
            raise InputError(f"--{name} {getattr(flags, name)}: expected more than 0, up to {_MOST}")
    if flags.repetition_penalty is not None and not 0 < flags.repetition_penalty <= _MOST:
        raise InputError(f"--repetition_penalty {flags.repetition_penalty}: expected more than 0")
    if flags.backend != "endpoint" and (flags.model_url or flags.model_name):
        raise InputError("--model_url and --model_name: they are for --backend endpoint")
    check_threads(flags.threads)
    needed = ["output_dir", *(("model_url", "model_name") if flags.backend == "endpoint" else ("model",))]
    for name in needed:
        if getattr(flags, name) is None:
            raise InputError(f"--{name}: missing")
    if not flags.data_root.is_dir():
        raise InputError(f"--data_root {flags.data_root}: no such directory")
