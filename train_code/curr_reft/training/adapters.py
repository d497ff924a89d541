"""LoRA in a stage: what is adapted, and the adapter that a stage starts from."""

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from trl import get_peft_config, get_quantization_config
from trl.trainer.utils import create_model_from_path

from curr_reft.errors import InputError
from curr_reft.models.adapters import adapter_model, check_adapter, load_adapter_config
from curr_reft.models.checkpoints import Checkpoint, checkpoint_at
from curr_reft.models.merge import MERGED, adapter_record
from curr_reft.models.vision_tower import VISION_TOWER
from curr_reft.models.weights import is_adapter, skeleton
from curr_reft.training.arguments import CurriculumConfig
from curr_reft.training.model_arguments import ModelArguments

FLAG = "--model_name_or_path"
LANGUAGE_MODEL = r".*language_model\.layers\..*_proj"
"""The linear layers of the language model, by their names in transformers 5."""
_REFERENCE = "ref"
"""TRL's name for it."""
_DEFAULTS = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
_OF_THE_ADAPTER = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "lora_target_parameters": "target_parameters",
    "lora_modules_to_save": "modules_to_save",
}


@dataclass(frozen=True)
class StartingAdapter:
    """The adapter that `--model_name_or_path` names."""

    checkpoint: Checkpoint
    config: LoraConfig
    merges: bool
    """Whether it is merged into its base first (`--adapter merge`); otherwise the stage goes on with it."""

    @property
    def base(self) -> Path:
        """The folder of the whole weights that it belongs to."""
        return self.checkpoint.weights

    def __str__(self) -> str:
        does = "first merges" if self.merges else "goes on with"
        return f"the stage {does} the adapter {self.checkpoint.path}, of {self.base}"

    def record(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {**adapter_record(self.checkpoint), "merged": MERGED if self.merges else None}


def find_starting_adapter(model: ModelArguments) -> StartingAdapter | None:
    """The adapter that a stage starts from, `None` where it starts from whole weights.

    Raises:
        InputError: when it or its base cannot be read, or it is of a kind that stages do not train.
    """
    folder = Path(model.model_name_or_path)
    if not folder.is_dir() or not is_adapter(folder):
        return None
    checkpoint = checkpoint_at(folder, FLAG)
    config = load_adapter_config(folder, FLAG)
    merges = model.adapter == "merge"
    if not merges and not isinstance(config, LoraConfig):
        raise InputError(
            f"{FLAG} {folder}: an adapter of type {config.peft_type}, with which a stage cannot go on;"
            " give --adapter merge"
        )
    return StartingAdapter(checkpoint, config, merges)


def settled(model: ModelArguments, start: StartingAdapter | None) -> ModelArguments:
    """The flags with those of LoRA that were left out: the starting adapter's, or else the defaults.

    Raises:
        InputError: for a flag that contradicts the adapter that the stage goes on with.
    """
    if start is None or start.merges:
        if not model.use_peft:
            return model
        given = {name: getattr(model, name) for name in _DEFAULTS if getattr(model, name) is not None}
        return replace(model, **_DEFAULTS | given, lora_target_modules=_targets(model))
    values = {}
    for name, own in _OF_THE_ADAPTER.items():
        asked, has = (_plain(value) for value in (getattr(model, name), getattr(start.config, own)))
        if asked is not None and asked is not False and asked != has:
            raise InputError(_contradiction(name, asked, start, f"has {has}"))
        values[name] = has
    if model.lora_target_modules or model.freeze_vision:
        _check_parts(model, start)
    dropout = start.config.lora_dropout if model.lora_dropout is None else model.lora_dropout
    targets = _plain(start.config.target_modules)
    return replace(model, **values, use_peft=True, lora_dropout=dropout, lora_target_modules=targets)


def _targets(model: ModelArguments) -> str | list[str] | None:
    if model.lora_target_modules or model.lora_target_parameters:
        return model.lora_target_modules
    return LANGUAGE_MODEL


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | list | tuple) else value


def _contradiction(name: str, asked: Any, start: StartingAdapter, says: str) -> str:
    return (
        f"--{name} {asked}: the adapter {start.checkpoint.path}, with which the stage goes on, {says}; leave"
        " the flag out, or give --adapter merge"
    )


def _check_parts(model: ModelArguments, start: StartingAdapter) -> None:
    """Refuse flags that name other parts of the model than the adapter has, in whatever words."""
    adapted = check_adapter(start.checkpoint.path, skeleton(start.base, FLAG), FLAG).targeted_module_names
    if model.lora_target_modules:
        asked = replace(model, use_peft=True, **_DEFAULTS)
        wanted = adapter_model(skeleton(start.base, FLAG), lora_config(asked), "--lora_target_modules")
        if other := sorted(set(wanted.targeted_module_names) ^ set(adapted)):
            says = f"has other parts, by {len(other)}, such as {other[0]}"
            raise InputError(_contradiction("lora_target_modules", model.lora_target_modules, start, says))
    if model.freeze_vision and any(".visual." in f".{name}" for name in adapted):
        raise InputError(_contradiction("freeze_vision", "true", start, "adapts the vision tower"))


def lora_config(model: ModelArguments) -> LoraConfig | None:
    """The configuration of the adapter that flags ask for; without the vision tower where that is frozen."""
    config = get_peft_config(model)
    if config is not None and model.freeze_vision:
        config.exclude_modules = VISION_TOWER
    return config


def load_adapted(start: StartingAdapter, model: ModelArguments, config: CurriculumConfig) -> PeftModel:
    """The base with the starting adapter in it, to be trained further.

    The base is loaded as TRL would load it by its name.
    """
    options = {**config.model_init_kwargs, "trust_remote_code": config.trust_remote_code}
    if config.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
        options["device_map"] = None
    quantization = get_quantization_config(model)
    if quantization is not None:
        options["quantization_config"] = quantization
    base = create_model_from_path(str(start.base), **options)
    adapter = start.config
    adapter.lora_dropout = model.lora_dropout
    if adapter.base_model_name_or_path is None or Path(adapter.base_model_name_or_path).is_dir():
        adapter.base_model_name_or_path = os.path.abspath(start.base)
    # As TRL makes adapters: ZeRO-3 gathers weights of one type alone.
    scattered = config.deepspeed_plugin is not None and config.deepspeed_plugin.zero_stage == 3
    return PeftModel.from_pretrained(
        base,
        start.checkpoint.path,
        is_trainable=True,
        config=adapter,
        autocast_adapter_dtype=not scattered or quantization is not None,
    )


def keep_reference_apart(model: PeftModel) -> None:
    """Leave TRL's copy of a starting adapter, the reference, out of checkpoints, and drop nothing in it.

    transformers would go on from the copy instead of the adapter where a checkpoint holds both.
    """
    model.save_pretrained = functools.partial(model.save_pretrained, selected_adapters=["default"])
    for module in model.modules():
        if isinstance(module, LoraLayer) and _REFERENCE in module.lora_dropout:
            module.lora_dropout[_REFERENCE] = nn.Identity()
