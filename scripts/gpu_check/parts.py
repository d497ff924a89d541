"""What is tried on a GPU, in order of worth."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.stages import STAGES
from findings import answers_in_common, benchmark, resumed, steps

_CONFIGS = "configs/qwen2_5_vl_3b"
_MIXTURES = {"judge": "stage1_judge", "choice": "stage2_multi_choice", "open": "others"}
_ROWS = 16
_MODEL_GIB, _WHOLE_GIB = 24, 100
"""GPU memory for the 3B with an adapter or answering, and with all of AdamW's state in float32."""

Command = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Commands that belong together, run one after the other until one fails."""

    name: str
    seconds: int
    """What it is thought to take with the 3B, which nobody has measured. With less left it is skipped."""
    commands: tuple[Command, ...]
    findings: Callable[[Path], dict[str, Any]] = lambda log: {}
    """What the part's log and files say, once its commands are done."""
    missing: str | None = None
    """Why it cannot be run here."""
    gpu_gib: int = 0
    """What the GPU must have for it with the 3B: the memory plan and a tenth, or an estimate like it."""
    kill_at: Path | None = None
    """The file at which the first command is killed."""


@dataclass(frozen=True)
class Trial:
    """The model that everything is tried on, and where it is tried."""

    preset: str
    folder: Path
    has_gpu: bool

    @property
    def base(self) -> Path:
        """The folder of the model."""
        return self.folder / "base"

    def parts(self) -> list[Part]:
        """All parts, in order of worth."""
        no_gpu = None if self.has_gpu else "no GPU"
        adapter = self.folder / "adapter"
        lora = self._stage(
            *("open", self.base, adapter, "--use_peft", "true", "--lora_target_modules", "all-linear"),
            *("--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2"),
        )
        vllm = self._stage(
            *("open", self.base, self.folder / "vllm", "--config", f"{_CONFIGS}/vllm_colocate.yaml"),
        )
        batches = {size: self.folder / f"batch_{size}" for size in (1, _ROWS)}
        return [
            Part("weights and rows", 60, (self._weights(), self._rows())),
            self._benchmark("sdpa", None),
            self._curriculum("ZeRO-3", 130, "configs/deepspeed/zero3.json", no_gpu, _WHOLE_GIB),
            Part(
                "LoRA, killed and started again",
                80,
                (lora, lora),
                lambda log: resumed(log, adapter),
                gpu_gib=_MODEL_GIB,
                kill_at=adapter / "checkpoint-2/trainer_state.json",
            ),
            Part(
                f"evaluation, batch 1 against {_ROWS}",
                60,
                tuple(self._evaluation(size, output) for size, output in batches.items()),
                lambda log: answers_in_common(*batches.values()),
                gpu_gib=_MODEL_GIB,
            ),
            # Weights in bfloat16 alone, and so is AdamW's state.
            self._curriculum("no DeepSpeed", 100, "none", None, 50),
            self._benchmark("flash_attention_2", no_gpu or _not_installed("flash_attn")),
            Part(
                "vLLM rollouts, colocate",
                100,
                (vllm,),
                lambda log: steps(log, [self.folder / "vllm"]),
                no_gpu or _not_installed("vllm"),
                gpu_gib=70,
            ),
        ]

    def _weights(self) -> Command:
        return _python("scripts/full_size.py", "--size", self.preset, "--output", self.base)

    def _rows(self) -> Command:
        counts = ("--train", 64, "--val", 2, "--test", _ROWS)
        return _python("-m", "curr_reft.data.shapes", "--output_dir", self.folder / "world", *counts)

    def _benchmark(self, attention: str, missing: str | None) -> Part:
        flags = ("--preset", self.preset, "--repeats", 1, "--json", "--attn_implementation", attention)
        # Its preset has two shapes, of twice the tokens.
        shape = ("--shape", 4, 128) if self.preset == "3b" else ()
        command = _python("scripts/benchmarks/step", *flags, *shape)
        return Part(f"step benchmark, {attention}", 90, (command,), benchmark, missing, _WHOLE_GIB)

    def _curriculum(self, name: str, seconds: int, deepspeed: str, missing: str | None, gpu_gib: int) -> Part:
        """The three stages, each from the one before."""
        runs = [self.folder / name.replace(" ", "_") / stage for stage in STAGES]
        commands = (
            self._stage(stage, model, run, "--deepspeed", deepspeed)
            for stage, model, run in zip(STAGES, [self.base, *runs], runs, strict=False)
        )
        return Part(
            f"three stages, {name}",
            seconds,
            tuple(commands),
            lambda log: steps(log, runs),
            missing,
            gpu_gib,
        )

    def _stage(self, stage: str, model: Path, output: Path, *more: str) -> Command:
        """Three steps on the embedded world; on a GPU its images have the tokens of photographs."""
        pixels = 401408 if self.has_gpu else 3136
        flags = {
            "config": f"{_CONFIGS}/{STAGES[stage].title}.yaml",
            "model_name_or_path": model,
            "dataset_name": f"configs/data/{_MIXTURES[stage]}/shapes.yaml",
            "image_root": self.folder / "world",
            "output_dir": output,
            "held_out_suites": "none",
            "report_to": "none",
            "attn_implementation": "sdpa",
            "deepspeed": "none",
            "torch_dtype": "bfloat16" if self.has_gpu else "float32",
            "bf16": str(self.has_gpu).lower(),
            "min_pixels": pixels,
            "max_pixels": pixels,
            "max_completion_length": 32 if self.has_gpu else 8,
            "max_steps": 3,
            # At the configuration's own, weights without float32 masters would not move.
            "learning_rate": 1e-4,
            "save_strategy": "no",
        }
        pairs = (text for name, value in flags.items() for text in (f"--{name}", value))
        launch = ("-m", "curr_reft.training.launch", "--standalone", "--nproc_per_node=1")
        rewards = ("--reward_funcs", "accuracy", "format", "scripts/gpu_check/rewards.py:token_sum")
        return _python(*launch, "train_code/grpo/stage.py", stage, *pairs, *rewards, *more)

    def _evaluation(self, batch_size: int, output: Path) -> Command:
        suites = ("--suites", "detection_in", "--suites_config", "configs/eval/shapes.yaml")
        places = ("--data_root", self.folder / "world", "--output_dir", output)
        sizes = ("--batch_size", batch_size, "--max_new_tokens", 32 if self.has_gpu else 8)
        return _python("eval/evaluate.py", "--model", self.base, *suites, *places, *sizes)


def _python(*arguments: object) -> Command:
    return (sys.executable, *map(str, arguments))


def _not_installed(package: str) -> str | None:
    return None if importlib.util.find_spec(package) else f"{package} is not installed"
