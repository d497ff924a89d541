"""Flags of `swift sft`: read from YAML and the command line, and put into the words of ms-swift 4.6.0.

The released scripts were written for ms-swift 3.2.0. What changed since is in `_RENAMED`, `_VALUES` and
`_inert`; every flag that is not named here goes to swift untouched.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.yaml import read_mapping

Flags = dict[str, list[str]]
"""Values by flag, as texts in order; a switch without a value has none."""

_RENAMED = {"train_type": "tuner_type", "custom_register_path": "external_plugins"}
_VALUES = {"infer_backend": {"pt": "transformers"}, "sampler_engine": {"pt": "transformers"}}
_FORCED = {
    "strict": ("true", "ms-swift would put random other rows in the place of rows that it cannot read"),
    "add_version": ("false", "evaluation looks for checkpoints in the output directory itself"),
}
_DEFAULTS = {
    "model_type": ("qwen2_5_vl", "what the released scripts name"),
    "template": ("qwen2_5_vl", "ms-swift tells it from a model's name on the hub alone"),
    "use_hf": ("true", "models by name come from the Hugging Face hub, as everywhere here"),
    "check_model": ("false", "ms-swift would ask a hub whether a local model is its own"),
}
_OPTIONAL = ("deepspeed", "val_dataset")
_SYSTEM = "You are a helpful assistant."
_FALSE = ("false", "no", "0", "off")
_ENVIRONMENT = "ENV"
_PLUGIN = Path(__file__).parents[2] / "sft/run_ends.py"


def parse_command_line(argv: Sequence[str]) -> Flags:
    """``--name value …`` and ``--name=value``, dashes in names read as underscores; the last of two wins.

    Raises:
        InputError: for a value that belongs to no flag.
    """
    flags: Flags = {}
    name = None
    for argument in argv:
        if re.match(r"--[A-Za-z]", argument):
            name, equals, value = argument[2:].partition("=")
            name = name.replace("-", "_")
            flags[name] = [value] if equals else []
        elif name is None:
            raise InputError(f"{argument!r}: expected a flag, such as --config FILE.yaml")
        else:
            flags[name].append(argument)
    return flags


def read_config(path: Path) -> tuple[Flags, dict[str, str]]:
    """The flags of a YAML file, and the environment that its key `ENV` holds, as swift's own YAML has it.

    A list gives several values, a mapping goes as JSON, and a flag without a value (null) is left out.

    Raises:
        InputError: for a file that is no mapping, or an `ENV` that is none.
    """
    contents = read_mapping(path, "--config")
    environment = contents.pop(_ENVIRONMENT, {})
    if not isinstance(environment, dict):
        raise InputError(f"--config {path}: {_ENVIRONMENT}: expected a mapping of environment variables")
    flags = {
        str(name): [_text(each) for each in (value if isinstance(value, list) else [value])]
        for name, value in contents.items()
        if value is not None
    }
    return flags, {str(name): _text(value) for name, value in environment.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def translate(config: Flags, given: Flags) -> tuple[Flags, list[str]]:
    """Flags of ms-swift 3.2.0 or 4.6.0 as flags of 4.6.0, and a note on each that changed or does nothing.

    Args:
        config: Those of a YAML file.
        given: Those of the command line, which win, whichever version's name they have.

    Raises:
        InputError: for one that would make a run other than what it seems to be (`--strict false`,
            `--add_version true`), or that is given under both names.
    """
    notes: list[str] = []
    flags = {**_renamed(config, notes), **_renamed(given, notes)}
    for name, (value, reason) in _FORCED.items():
        asked = " ".join(flags.pop(name, [value])) or "true"
        if (asked.lower() in _FALSE) != (value == "false"):
            raise InputError(f"--{name} {asked}: always {value} here, for {reason}")
    for name, (value, reason) in _DEFAULTS.items():
        if name not in flags and (name != "template" or flags["model_type"] == [value]):
            flags[name] = [value]
            notes.append(f"--{name} {value} added: {reason}")
    # Swift itself has no word for "without".
    flags = {name: values for name, values in flags.items() if name not in _OPTIONAL or values != ["none"]}
    # Last, since swift also takes the beginnings of names.
    flags.update({name: [value] for name, (value, _) in _FORCED.items()})
    return flags, notes + _inert(flags)


def _renamed(flags: Flags, notes: list[str]) -> Flags:
    renamed: Flags = {}
    for name, values in flags.items():
        new = _RENAMED.get(name, name)
        if new != name:
            if new in flags:
                raise InputError(f"--{name}: the old name of --{new}, which is given as well")
            notes.append(f"--{name} is --{new} in ms-swift 4.6.0")
        known = _VALUES.get(name, {})
        notes += [
            f"--{name} {value} is {known[value]} in ms-swift 4.6.0" for value in values if value in known
        ]
        renamed[new] = [known.get(value, value) for value in values]
    return renamed


def with_plugin(flags: Flags) -> Flags:
    """The flags with the plugin by which a run ends, and keeps what it goes on from, as stages do."""
    plugins = [*flags.get("external_plugins", []), str(_PLUGIN)]
    callbacks = [*flags.get("callbacks", []), "stop_on_signal", "keep_state_of_newest", "end_on_loss"]
    ends = {"external_plugins": plugins, "callbacks": callbacks, "logging_nan_inf_filter": ["false"]}
    return {**flags, **ends}


def _inert(flags: Flags) -> list[str]:
    """What is said of flags that do nothing, or something else than they seem to."""
    notes = []
    ratio = flags.get("split_dataset_ratio", ["0"])
    held_back = "val_dataset" in flags or any(value.strip("0.") for value in ratio)
    if "eval_steps" in flags and not held_back:
        notes.append(
            "--eval_steps does nothing: ms-swift holds no rows back for validation since 3.6;"
            " --split_dataset_ratio 0.01 is what 3.2.0 did, --val_dataset names rows of your own"
        )
    if "max_steps" in flags and "num_train_epochs" in flags and number(flags, "max_steps", -1) > 0:
        notes.append("--num_train_epochs does nothing beside --max_steps, which wins")
    trains_vision = flags.get("freeze_vit", ["true"])[-1:] in (["False"], ["false"])
    if trains_vision and "freeze_aligner" not in flags:
        notes.append("the merger stays frozen, as in the release: --freeze_aligner false trains it too")
    if "system" in flags and flags["system"] != [_SYSTEM]:
        notes.append(
            f"--system {' '.join(flags['system'])!r}: prompts of training and evaluation have {_SYSTEM!r},"
            " the chat template's own"
        )
    return notes


def number(
    flags: Mapping[str, Sequence[str]], name: str, default: float, minimum: float = -math.inf
) -> float:
    """A flag's one value as a number.

    Raises:
        InputError: when it is none, infinite or below the minimum.
    """
    values = flags.get(name)
    if values is None:
        return default
    wrong = f"--{name} {' '.join(values)}: expected one number"
    try:
        (value,) = map(float, values)
    except ValueError as error:
        raise InputError(wrong) from error
    if not math.isfinite(value) or value < minimum:
        raise InputError(wrong + (f" of {minimum:g} or more" if math.isfinite(minimum) else ""))
    return value


def variable(environment: Mapping[str, str], name: str, default: int, minimum: int = 1) -> int:
    """An environment variable's whole number.

    Raises:
        InputError: when it is none or below the minimum.
    """
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) < minimum:
        raise InputError(f"{name}={text}: expected a whole number of {minimum} or more")
    return int(text)


def one_value(flags: Mapping[str, Sequence[str]], name: str) -> str:
    """A flag's one value.

    Raises:
        InputError: when it is missing, or there are several.
    """
    values = flags.get(name, [])
    if len(values) != 1 or not values[0]:
        raise InputError(f"--{name}: expected one value, found {' '.join(values) or 'none'}")
    return values[0]


def arguments(flags: Mapping[str, Sequence[str]]) -> list[str]:
    """The flags as arguments of a command."""
    return [part for name, values in flags.items() for part in (f"--{name}", *values)]
