"""The YAML file of a curriculum as it is written: its keys, `extends`, and defaults of steps.

`extends: FILE` takes all keys of another file that this one does not have, of `defaults` the single kinds.

    model: Qwen/Qwen2.5-VL-3B-Instruct
    configs: configs/qwen2_5_vl_3b      # folder of the steps' YAML files
    output_dir: outputs/qwen2_5_vl_3b
    steps:
      - judge
      - {run: choice, overlays: my_lora.yaml, flags: {learning_rate: 2.0e-6}}
      - {run: open, from: stage2_choice, checkpoint: 500}
      - evaluation

Relative paths are relative to the repository.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.yaml import read_mapping

REPOSITORY = Path(__file__).resolve().parents[3]

Settings = dict[str, Any]


def located(path: str) -> Path:
    """A path of a file of ours; relative ones are relative to the repository."""
    return (REPOSITORY / Path(path).expanduser()).resolve()


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


Names = Annotated[list[str], BeforeValidator(_listed)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepKeys(_Keys):
    """One step; what is `None` has a default that depends on what the step runs."""

    run: str
    """A stage (`judge` or `stage1_judge`), or one of the other kinds of `curr_reft.curriculum.steps`."""
    name: str | None = None
    """Of the step and of its folder; needed when one kind is there twice."""
    start: str | None = Field(default=None, alias="from")
    """The step whose model it starts from, or `base`; by default the last one before it with a model."""
    checkpoint: str | Annotated[int, Field(strict=True)] = "last"
    """Of that step: `last`, a number of optimizer steps, `best`, or `best:METRIC`."""
    config: Names | None = None
    """Its YAML files, the later of which beat the earlier."""
    overlays: Names = []
    """YAML files on top of those, such as LoRA's; for stages and fine-tuning."""
    flags: Settings = {}
    """Beat all files."""
    data: str | None = None
    """For fine-tuning: the step that wrote its rows, by default the last one before it that wrote some."""
    of: Names | None = None
    """For evaluation: the steps whose models are scored, and `base`; by default all before it."""
    judge: Settings = {}
    """For rejection sampling: flags of `curr_reft.self_improvement.judge`."""
    processes: int | None = Field(default=None, ge=1)
    """On each node; by default those of the whole."""


class Keys(_Keys):
    """The whole file."""

    model: str = Field(min_length=1)
    configs: str | None = None
    output_dir: str = Field(min_length=1)
    data_root: str = "grpo_sft_data/grpo_data"
    """Rows and images of stages and suites."""
    query_root: str = "grpo_sft_data/SFT_data"
    """Queries of rejection sampling."""
    processes: int | None = Field(default=None, ge=1)
    """On each node; by default its GPUs, one without any."""
    seed: int | None = None
    """Of all steps, over what their files say."""
    defaults: dict[str, Settings] = {}
    """Keys of steps by what they run; those of `stage` hold for all stages."""
    steps: list[str | Settings] = Field(min_length=1)


def read_document(path: Path) -> Settings:
    """A curriculum's YAML file with what it extends, or the configuration that a manifest of ours holds.

    Raises:
        InputError: for a file that cannot be read, or that extends itself.
    """
    if path.suffix == ".json":
        document = read_object(path).get("config")
        if not isinstance(document, dict):
            raise InputError(f"{path}: not the manifest of a curriculum: it has no `config`")
        return document
    return _extended(path, [])


def _extended(path: Path, extending: list[Path]) -> Settings:
    path = path.resolve()
    if path in extending:
        raise InputError(f"{path}: extends itself, over {extending[-1]}")
    document = read_mapping(path)
    base = document.pop("extends", None)
    if base is None:
        return document
    if not isinstance(base, str):
        raise InputError(f"{path}: extends: expected the name of a file")
    extended = _extended(path.parent / base, [*extending, path])
    both = [each["defaults"] for each in (extended, document) if isinstance(each.get("defaults"), dict)]
    defaults = {kind: values for each in both for kind, values in each.items()}
    return {**extended, **document, **({"defaults": defaults} if both else {})}


def checked(document: Settings, where: str) -> Keys:
    """A document's keys.

    Raises:
        InputError: for an unknown or missing key, and for a value of the wrong type.
    """
    try:
        return Keys.model_validate(document)
    except ValidationError as error:
        raise _one_line(error, where) from error


def checked_step(step: str | Settings, defaults: Settings, where: str) -> StepKeys:
    """The keys of one step, over the defaults of its kind; `flags` and `judge` are put together.

    Raises:
        InputError: as `checked` does.
    """
    own = {"run": step} if isinstance(step, str) else step
    together = {
        key: {**defaults[key], **own.get(key, {})}
        for key in ("flags", "judge")
        if isinstance(defaults.get(key), dict) and isinstance(own.get(key, {}), dict)
    }
    try:
        return StepKeys.model_validate({**defaults, **own, **together})
    except ValidationError as error:
        raise _one_line(error, where) from error


def _one_line(error: ValidationError, where: str) -> InputError:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return InputError(f"{where}: unknown key {place!r}")
    if first["type"] == "missing":
        return InputError(f"{where}: the key {place!r} is missing")
    return InputError(f"{where}: {place}: {first['msg']}, found {first['input']!r}")
