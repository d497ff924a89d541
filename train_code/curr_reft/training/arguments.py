"""Flags of the stage scripts: the released ones, TRL's, and a few of ours.

Flags beat the ``--config`` YAML files, the later of which beats the earlier; these beat the defaults. Every
default the objective depends on is written here, none is left to a library. Files and models that are not
found from the working directory are looked for in the repository.
"""

import difflib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import HfArgumentParser
from trl import GRPOConfig

from curr_reft.boxes import BoxFrame
from curr_reft.errors import InputError
from curr_reft.files.cli import CommandParser
from curr_reft.files.json import read_object
from curr_reft.files.yaml import read_mapping
from curr_reft.tasks.registry import load_task_file
from curr_reft.training.model_arguments import ModelArguments
from curr_reft.training.stopping import GRACE_SECONDS
from curr_reft.training.surroundings import check_trackers

_REPOSITORY = Path(__file__).resolve().parents[3]


def found_file(path: str) -> str:
    """A path as it is given, or below the repository where it is there alone; configurations name such."""
    if not Path(path).exists() and (_REPOSITORY / path).exists():
        return str(_REPOSITORY / path)
    return path


@dataclass
class DataArguments:
    """Where the rows and images are and which of them are used."""

    dataset_name: str = field(metadata={"help": "Mixture YAML with `train_datasets` and `val_datasets`."})
    image_root: str = field(metadata={"help": "Folder that the rows' `image` paths are relative to."})
    data_root: str | None = field(
        default=None,
        metadata={"help": "Folder the mixture's `json_path`s are relative to (default: --image_root)."},
    )
    max_prompt_length: int = field(
        default=2048,
        metadata={"help": "Rows with longer prompts, image tokens counted, are dropped with a count."},
    )
    strict_prompt_length: bool = field(default=False, metadata={"help": "Stop on a too long prompt instead."})
    allow_missing_images: bool = field(
        default=False, metadata={"help": "Drop rows whose image is missing or unreadable, and say how many."}
    )
    drop_bad_boxes: bool = field(
        default=False,
        metadata={"help": "Drop rows whose gold box is inverted or outside its image, and say how many."},
    )
    held_out_suites: str | None = field(
        default=None,
        metadata={"help": "Suites YAML (configs/eval) whose rows training is compared with first, or none."},
    )
    forbid_leaks: bool = field(
        default=False,
        metadata={"help": "Stop, instead of warning, when held-out rows or images are in training."},
    )
    filter_solved: str | None = field(
        default=None,
        metadata={"help": "Judged candidates (scores.jsonl); rows always or never right are left out."},
    )
    box_frame: BoxFrame = field(
        default="budget",
        metadata={
            "help": "Pixel frame boxes are taught in: after the stage's image budget, or after the processor."
        },
    )
    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy", "format"],
        metadata={"help": "Rewards to sum: accuracy, format, or FILE.py:FUNCTION of your own."},
    )
    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Python files that define tasks of your own."}
    )
    reward_variant: Literal["paper", "released"] = field(
        default="paper", metadata={"help": "The paper's rewards, or the released code's with their quirks."}
    )
    min_pixels: int | None = field(default=None, metadata={"help": "Smallest image the processor hands on."})
    max_pixels: int | None = field(default=None, metadata={"help": "Largest image the processor hands on."})

    def __post_init__(self) -> None:
        self.dataset_name = found_file(self.dataset_name)
        if self.held_out_suites:
            self.held_out_suites = found_file(self.held_out_suites)
        self.tasks = [found_file(path) for path in self.tasks]
        for path in self.tasks:
            load_task_file(Path(path))


@dataclass
class CurriculumConfig(GRPOConfig):
    """TRL's GRPO configuration with the released objective, and batch sizes that count prompts.

    `per_device_train_batch_size` and `per_device_eval_batch_size` are given in prompts, as in the released
    scripts, and hold completions (prompts x generations, TRL's counting) once the configuration is made;
    `prompts_per_device` keeps the number given, and `deepspeed_file` the file, of which a dry run on a CPU
    makes no use.
    """

    dry_run: bool = field(
        default=False, metadata={"help": "Check everything, print the plan, load no weights."}
    )
    accept_changes: bool = field(
        default=False,
        metadata={"help": "Go on with an unfinished run although settings differ; the manifest says which."},
    )
    resumable_checkpoints: int | None = field(
        default=None,
        metadata={
            "help": "Newest checkpoints that a run can go on from; older ones keep weights (default: all)."
        },
    )
    stop_grace_seconds: float = field(
        default=GRACE_SECONDS,
        metadata={"help": "Time from SIGTERM to the end, for the step at work and a checkpoint."},
    )
    max_kl: float = field(
        default=10.0, metadata={"help": "Mean KL from the reference above which a run is warned about."}
    )
    stop_on_divergence: bool = field(
        default=False,
        metadata={"help": "End a run whose KL exceeds --max_kl or whose format reward collapses."},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "End after so many evaluations without a better --metric_for_best_model (eval_reward)."
        },
    )
    early_stopping_threshold: float = field(
        default=0.0, metadata={"help": "By how much more than this a better metric exceeds the best so far."}
    )
    prompts_per_device: int = field(init=False, default=0)
    machine_notes: list[str] = field(init=False, default_factory=list)
    deepspeed_file: str | None = field(init=False, default=None)

    # TRL takes any text for these four, and stops at the first loss.
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = field(
        default="grpo"
    )
    scale_rewards: Literal["group", "batch", "none"] = field(default="group")
    importance_sampling_level: Literal["token", "sequence"] = field(default="token")
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = field(
        default="sum_then_normalize"
    )
    beta: float = field(default=0.04)
    use_bias_correction_kl: bool = field(default=False)
    num_iterations: int = field(default=1)
    epsilon: float = field(default=0.2)
    mask_truncated_completions: bool = field(default=False)
    disable_dropout: bool = field(default=False)
    num_generations: int = field(default=4)
    max_completion_length: int = field(default=256)
    temperature: float = field(default=1.0)
    top_k: int = field(default=50)
    top_p: float = field(default=1.0)
    repetition_penalty: float = field(default=1.0)
    vllm_importance_sampling_correction: bool = field(default=False)

    optim: str = field(default="adamw_torch")
    learning_rate: float = field(default=1e-6)
    lr_scheduler_type: str = field(default="linear")
    warmup_steps: float = field(default=0)
    weight_decay: float = field(default=0.0)
    max_grad_norm: float = field(default=1.0)
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Prompts per device and step."})
    per_device_eval_batch_size: int = field(default=1, metadata={"help": "Prompts per device in evaluation."})
    gradient_accumulation_steps: int = field(default=1)
    gradient_checkpointing: bool = field(default=False)
    shared_prefix: bool = field(
        default=True, metadata={"help": "Compute a prompt once for all its completions; false is TRL's way."}
    )
    max_packed_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Most tokens of prompts and completions held in memory at a time (default: no limit)."
        },
    )
    dynamic_sampling: bool = field(
        default=False,
        metadata={"help": "Draw the next prompts for groups whose rewards are all equal (DAPO)."},
    )
    max_resampling: int = field(
        default=10, metadata={"help": "Most rounds in which --dynamic_sampling draws further prompts."}
    )
    num_train_epochs: float = field(default=1.0)
    bf16: bool = field(default=False)

    seed: int = field(default=42)
    data_seed: int = field(
        default=42, metadata={"help": "Seeds sampling from files and the order of prompts."}
    )

    logging_steps: float = field(default=1)
    save_steps: float = field(default=100)
    num_completions_to_print: int | None = field(
        default=0, metadata={"help": "Completions of each log to print as a table, beside those written."}
    )
    report_to: list[str] = field(default_factory=lambda: ["none"])

    def __post_init__(self) -> None:
        if self.num_generations < 2:
            raise InputError(f"--num_generations {self.num_generations}: a group advantage needs at least 2")
        if self.per_device_train_batch_size < 1 or self.gradient_accumulation_steps < 1:
            raise InputError(
                "--per_device_train_batch_size and --gradient_accumulation_steps must be at least 1"
            )
        if self.per_device_eval_batch_size < 1 or self.max_completion_length < 1:
            raise InputError("--per_device_eval_batch_size and --max_completion_length must be at least 1")
        if self.num_generations_eval is not None and self.num_generations_eval < 2:
            raise InputError(f"--num_generations_eval {self.num_generations_eval}: must be at least 2")
        if self.resumable_checkpoints is not None and self.resumable_checkpoints < 1:
            raise InputError(f"--resumable_checkpoints {self.resumable_checkpoints}: must be at least 1")
        if self.max_resampling < 1:
            raise InputError(f"--max_resampling {self.max_resampling}: must be at least 1")
        if self.early_stopping_patience is not None:
            if self.early_stopping_patience < 1 or not self.early_stopping_threshold >= 0:
                raise InputError("--early_stopping_patience must be at least 1, the threshold not negative")
            self.metric_for_best_model = self.metric_for_best_model or "eval_reward"
        # Signals are handled by `curr_reft.training.stopping`; transformers' way ends as if all were done.
        self.enable_jit_checkpoint = False
        if self.deepspeed in ("none", ""):
            self.deepspeed = None
        check_trackers(self.report_to)
        self.prompts_per_device = self.per_device_train_batch_size
        self.per_device_train_batch_size *= self.num_generations
        self.per_device_eval_batch_size *= self.num_generations_eval or self.num_generations
        if self.deepspeed is not None:
            self.deepspeed = found_file(self.deepspeed)
            read_object(Path(self.deepspeed))
            self.deepspeed_file = self.deepspeed
        if not torch.cuda.is_available():
            self._fit_to_cpu()
        super().__post_init__()

    @property
    def rollout_steps(self) -> int:
        """After how many optimizer steps a rollout has been learned from to the end."""
        learned = self.steps_per_generation * self.num_iterations
        return math.lcm(learned, self.gradient_accumulation_steps) // self.gradient_accumulation_steps

    def _fit_to_cpu(self) -> None:
        """Choose gloo and CPU devices, and note the flags that only a GPU can serve."""
        if self.deepspeed is None or self.dry_run:
            self.use_cpu = True
            self.deepspeed, requested = None, self.deepspeed
            if requested and self.bf16:
                self.machine_notes.append("--bf16 with --deepspeed needs a GPU: on a CPU pass --bf16 false")
            return
        if self.bf16:
            raise InputError("--bf16 with --deepspeed needs a GPU: on a CPU pass --bf16 false")
        if "RANK" not in os.environ:
            raise InputError("--deepspeed needs a launcher: start this script with torchrun")
        # accelerate takes a CPU for a reason not to use DeepSpeed unless the process state exists beforehand.
        os.environ["DS_ACCELERATOR"] = "cpu"
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        from accelerate.state import PartialState

        PartialState(backend="gloo")
        self.accelerator_config = {"use_configured_state": True}


class _Parser(HfArgumentParser):
    error = CommandParser.error

    def closest(self, name: str) -> str:
        names = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        match = difflib.get_close_matches(name, names, n=1)
        return f" (did you mean {match[0]!r}?)" if match else ""


def _spelled(settings: Mapping[str, Any], parser: _Parser, where: str) -> list[str]:
    """A YAML mapping as flags, so that names, aliases and types are checked in one place."""
    flags = []
    for key, value in settings.items():
        if f"--{key}" not in parser._option_string_actions or key == "help":
            raise InputError(f"{where}: unknown key {key!r}{parser.closest(str(key))}")
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if isinstance(value, int | float | str) and str(value).startswith("-"):
            flags.append(f"--{key}={value}")
            continue
        flags.append(f"--{key}")
        flags += [json.dumps(item) if isinstance(item, dict | bool) else str(item) for item in values]
    return flags


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Check names, choices and types of a stage's settings, as a YAML file would hold them.

    Raises:
        InputError: for the first wrong one.
    """
    parser = _Parser((DataArguments, CurriculumConfig, ModelArguments), allow_abbrev=False)
    try:
        parser.parse_known_args(["--image_root", ".", *_spelled(settings, parser, where)])
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def parse_arguments(argv: Sequence[str]) -> tuple[DataArguments, CurriculumConfig, ModelArguments]:
    """Parse a stage script's command line.

    Raises:
        InputError: for an unknown, misspelt, missing or contradictory flag or YAML key.
    """
    config_parser = CommandParser(add_help=False)
    config_parser.add_argument("--config", action="append", default=[])
    config, flags = config_parser.parse_known_args(argv)

    parser = _Parser(
        (DataArguments, CurriculumConfig, ModelArguments),
        allow_abbrev=False,
        description="Train one stage. --config FILE.yaml sets any of these flags; of several files the last"
        " wins, and the command line beats them all.",
    )
    flags = [
        flag
        for path in map(found_file, config.config)
        for flag in _spelled(read_mapping(Path(path), "--config"), parser, path)
    ] + flags
    try:
        *parsed, unknown = parser.parse_args_into_dataclasses(flags, return_remaining_strings=True)
    except ValueError as error:
        raise InputError(f"arguments: {' '.join(str(error).split())}") from error
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        raise InputError(f"unknown argument {unknown[0]!r}{parser.closest(name)}")
    data, training, model = parsed
    if model.model_name_or_path is None:
        raise InputError("--model_name_or_path is missing: a checkpoint directory or a hub id")
    model.model_name_or_path = found_file(model.model_name_or_path)
    if Path(model.model_name_or_path).is_dir():
        # Manifests and adapters name it, and are read from other folders.
        model.model_name_or_path = os.path.abspath(model.model_name_or_path)
    return data, training, model
