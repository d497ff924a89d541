"""The flags of `eval/evaluate.py`, and those of every command that asks a model, samples or judges."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from curr_reft.boxes import BoxFrame
from curr_reft.errors import InputError
from curr_reft.evaluation.backends.endpoint import MODEL_KEY, chat_url
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
    add_request_flags(parser)
    add_tasks_flag(parser)


def add_request_flags(parser: CommandParser) -> None:
    """Add the flags of how servers are asked; `check_request_flags` checks them."""
    group = parser.add_argument_group("how servers are asked")
    group.add_argument("--threads", type=int, default=16, help=f"requests at a time, 1 to {MAX_THREADS}")
    group.add_argument("--timeout", type=float, default=600, help="seconds that an endpoint may stay silent")
    group.add_argument(
        "--attempts", type=int, default=6, help="how often a request is sent before it has failed"
    )


def add_sampling_flags(parser: CommandParser, num_samples: int | None, top_k: int) -> None:
    """Add the flags of how a model's answers are sampled, with a command's defaults of two.

    `check_sampling_flags` checks them.
    """
    group = parser.add_argument_group("how answers are sampled")
    default = "the largest k" if num_samples is None else num_samples
    group.add_argument(
        "--num_samples", type=int, default=num_samples, help=f"answers to each (default: {default})"
    )
    group.add_argument("--temperature", type=float, default=1.0, help="default: 1, as in training")
    group.add_argument(
        "--top_k",
        type=int,
        help=f"tokens drawn from, 0 for all (default: {top_k}; endpoints know no such thing)",
    )
    group.add_argument("--seed", type=int, default=42, help="default: 42")


def add_judge_flags(parser: CommandParser, prompt: Path) -> None:
    """Add the flags of a model as judge, `prompt` the default; `check_judge_flags` checks them."""
    group = parser.add_argument_group("--judge llm")
    group.add_argument("--judge_url", help="chat-completions address of the judge model, or its server's")
    group.add_argument("--judge_model", help="as its server knows it")
    group.add_argument(
        "--judge_prompt",
        type=Path,
        default=prompt,
        metavar="FILE",
        help="what the judge is asked, with the places of the default, which is %(default)s",
    )
    group.add_argument(
        "--judge_attempts",
        type=int,
        default=3,
        help="how often the judge is asked for a reply that can be read (default: 3)",
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
    check_folder(flags, "data_root")
    return flags


def check_model_flags(flags: Namespace) -> None:
    """Check the flags of `add_model_flags`, and that of the output folder.

    Raises:
        InputError: for the first that is wrong.
    """
    _check_positive(flags, "max_new_tokens", "batch_size", "tensor_parallel_size")
    check_request_flags(flags)
    if flags.repetition_penalty is not None and not 0 < flags.repetition_penalty <= _MOST:
        raise InputError(f"--repetition_penalty {flags.repetition_penalty}: expected more than 0")
    if flags.backend != "endpoint" and (flags.model_url or flags.model_name):
        raise InputError("--model_url and --model_name: they are for --backend endpoint")
    needed = ["output_dir", *(("model_url", "model_name") if flags.backend == "endpoint" else ("model",))]
    for name in needed:
        if not str(getattr(flags, name) or "").strip():
            raise InputError(f"--{name}: missing")


def check_request_flags(flags: Namespace) -> None:
    """Raise `InputError` for the first flag of `add_request_flags` that is wrong."""
    _check_positive(flags, "attempts", "timeout")
    check_threads(flags.threads)


def check_sampling_flags(flags: Namespace, top_k: int) -> None:
    """Check the flags of `add_sampling_flags`, and put in the `top_k` of this command where it is not given.

    Raises:
        InputError: for the first that is wrong.
    """
    if flags.backend == "endpoint" and flags.top_k:
        raise InputError("--top_k: an endpoint draws from all tokens")
    if flags.top_k is None:
        flags.top_k = 0 if flags.backend == "endpoint" else top_k
    for name, least in (("num_samples", 1), ("top_k", 0), ("seed", 0)):
        if getattr(flags, name) < least:
            raise InputError(f"--{name} {getattr(flags, name)}: expected {least} or more")
    if not 0 <= flags.temperature <= 10:
        raise InputError(f"--temperature {flags.temperature}: expected 0 to 10")
    if flags.temperature == 0 and flags.num_samples > 1:
        raise InputError(
            f"--temperature 0: all {flags.num_samples} answers would be equal; take more than 0 for several"
        )


def check_judge_flags(flags: Namespace) -> None:
    """Check the flags of a judge that is a model, and complete its URL.

    Raises:
        InputError: for the first that is wrong.
    """
    _check_positive(flags, "judge_attempts")
    for flag in ("judge_url", "judge_model"):
        if not (getattr(flags, flag) or "").strip():
            raise InputError(f"--{flag}: missing; --judge llm needs --judge_url and --judge_model")
    flags.judge_url = chat_url(flags.judge_url, "--judge_url")


def check_folder(flags: Namespace, name: str) -> None:
    """Raise `InputError` where a flag names no folder."""
    if not getattr(flags, name).is_dir():
        raise InputError(f"--{name} {getattr(flags, name)}: no such directory")


def _check_positive(flags: Namespace, *names: str) -> None:
    for name in names:
        if not 0 < getattr(flags, name) <= _MOST:
            raise InputError(f"--{name} {getattr(flags, name)}: expected more than 0, up to {_MOST}")
