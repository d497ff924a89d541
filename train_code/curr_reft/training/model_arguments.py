"""Flags of the model: which one, in which type, and what of it is trained."""

import re
from dataclasses import dataclass, field
from typing import Literal

from trl import ModelConfig

ALL_LINEAR = "all-linear"
_MODULE_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass
class ModelArguments(ModelConfig):
    """TRL's model flags, with the released name `--torch_dtype` beside `--dtype`."""

    dtype: Literal["float32", "bfloat16", "float16", "auto"] = field(
        default="float32", metadata={"aliases": ["--torch_dtype"], "help": "Type the weights are loaded in."}
    )
    freeze_vision: bool = field(
        default=False, metadata={"help": "Leave the vision tower and its merger as they are."}
    )
    adapter: Literal["continue", "merge"] = field(
        default="continue",
        metadata={"help": "Where --model_name_or_path is an adapter: go on with it, or merge it first."},
    )
    lora_r: int | None = field(
        default=None, metadata={"help": "LoRA's rank (default: the starting adapter's, or 16)."}
    )
    lora_alpha: int | None = field(
        default=None, metadata={"help": "LoRA's alpha (default: the starting adapter's, or 32)."}
    )
    lora_dropout: float | None = field(
        default=None, metadata={"help": "LoRA's dropout (default: the starting adapter's, or 0)."}
    )
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the layers that LoRA adapts, a regular expression of whole names, or all-linear"
            " (default: the starting adapter's, or the language model's linear layers)."
        },
    )

    def __post_init__(self) -> None:
        names = self.lora_target_modules
        super().__post_init__()
        if names and len(names) == 1 and _MODULE_NAME.fullmatch(names[0]) and names != [ALL_LINEAR]:
            # TRL makes a regular expression of a single name, which must then match a module's whole path.
            self.lora_target_modules = names
