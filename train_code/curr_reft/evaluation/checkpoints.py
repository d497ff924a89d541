"""What `--model` names: one checkpoint, an adapter, a hub id, or a training run with all its checkpoints."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import GenerationConfig, ProcessorMixin

from curr_reft.errors import InputError
from curr_reft.manifest import read_manifest, sha256_of
from curr_reft.processor import is_hub_id, load_processor

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
# Weights, configuration, processor and tokenizer, not the training's own state.
_DECIDES_ANSWERS = ("*.safetensors", "*_model*.bin", "*.json", "*.jinja", "*.txt", "*.model")
_TRAINING_STATE = {"trainer_state.json", "manifest.json", "all_results.json", "train_results.json"}
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Checkpoint:
    """Weights on this machine, and where what they lack is found."""

    name: str
    """Of a training run, `checkpoint-STEP` or `final`; otherwise the last part of the path or hub id."""
    path: Path
    step: int | None
    """Optimizer steps; `None` when nothing tells."""
    base: Path | None = None
    """The model that an adapter belongs to, `None` for whole weights."""
    run: Path | None = None
    """The training run's folder, `None` when nothing tells."""
    folder: str = ""
    """The name again where it is one of several, to keep their answers apart."""

    @property
    def weights(self) -> Path:
        """The folder of whole weights and of the model's configuration."""
        return self.base or self.path

    def has_processor(self) -> bool:
        """Whether the processor's configuration stands beside the weights."""
        return any((self.path / name).is_file() for name in _PROCESSOR_FILES)

    def processor(self, flag: str = "--model") -> ProcessorMixin:
        """The checkpoint's own processor, or else the one of the model that its files name as its base.

        Raises:
            InputError: when there is none.
        """
        source: str | Path = self.path
        if not self.has_processor():
            source = self.base or _named_base(self.path) or self.path
        return load_processor(str(source), config=str(self.weights), flag=flag)

    def repetition_penalty(self) -> float:
        """The one of the checkpoint's generation configuration, which the released evaluator applies too."""
        folder = next(
            (f for f in (self.path, self.weights) if (f / "generation_config.json").is_file()), None
        )
        return 1.0 if folder is None else GenerationConfig.from_pretrained(folder).repetition_penalty or 1.0

    def architecture(self) -> dict[str, Any]:
        """Model type, hidden size and number of layers, as the configuration has them."""
        config = _json(self.weights / "config.json")
        text = {**config, **config.get("text_config", {})}
        return {
            "model_type": config.get("model_type"),
            "hidden_size": text.get("hidden_size"),
            "layers": text.get("num_hidden_layers"),
        }

    def digest(self) -> str:
        """Digest of everything that answers depend on: weights, configuration, processor, tokenizer."""
        digest = hashlib.sha256()
        for folder in filter(None, (self.path, self.base)):
            for path in sorted({path for pattern in _DECIDES_ANSWERS for path in folder.glob(pattern)}):
                if path.name not in _TRAINING_STATE:
                    digest.update(f"{path.name} {sha256_of(path)}\n".encode())
        return digest.hexdigest()


def find_checkpoints(model: str, final_only: bool = False) -> list[Checkpoint]:
    """The checkpoints that `--model` names, by step; a run's final weights come last.

    Args:
        model: A checkpoint, an adapter, a folder of `checkpoint-*`, a hub id (downloaded when it is not yet).
        final_only: Of a training run, only its final weights.

    Raises:
        InputError: when there are none, or a folder among them holds no weights.
    """
    folder = Path(model)
    if not folder.is_dir():
        if not is_hub_id(model):
            raise InputError(f"--model {model}: no such directory")
        return [Checkpoint(model.rpartition("/")[2], _download(model, "--model"), None)]
    steps = {int(match[1]): path for match, path in _steps_below(folder)}
    if final_only or not steps:
        return [_checkpoint(folder, folder.resolve().name)]
    found = [_checkpoint(path, path.name) for _, path in sorted(steps.items())]
    if _has_weights(folder):
        found.append(_checkpoint(folder, "final"))
    return [replace(checkpoint, folder=checkpoint.name) for checkpoint in found]


def _steps_below(folder: Path) -> Iterator[tuple[re.Match[str], Path]]:
    for path in folder.iterdir():
        match = _CHECKPOINT.fullmatch(path.name)
        if match and path.is_dir():
            yield match, path


def _checkpoint(folder: Path, name: str) -> Checkpoint:
    if not _has_weights(folder):
        raise InputError(f"--model {folder}: holds no weights (*.safetensors) and no checkpoint-*")
    base = None
    if (folder / "adapter_config.json").is_file():
        named = _named_base(folder)
        if named is None:
            raise InputError(f"{folder / 'adapter_config.json'}: names no base_model_name_or_path")
        base = named
    match = _CHECKPOINT.fullmatch(folder.resolve().name)
    step = int(match[1]) if match else _steps_of_run(folder)
    owner = folder.resolve().parent if match else folder
    is_run = any((place / "trainer_state.json").is_file() for place in (folder, owner))
    return Checkpoint(name, folder, step, base, owner if is_run else None)


def _steps_of_run(folder: Path) -> int | None:
    state = folder / "trainer_state.json"
    return _json(state).get("global_step") if state.is_file() else None


def _has_weights(folder: Path) -> bool:
    return any(path.is_file() for pattern in _WEIGHTS for path in folder.glob(pattern))


def _named_base(folder: Path) -> Path | None:
    """The model that a checkpoint's files say it was made from, on this machine.

    Raises:
        InputError: when it is named and not there.
    """
    adapter, config, run = folder / "adapter_config.json", folder / "config.json", _run_record(folder)
    names = (
        _json(adapter).get("base_model_name_or_path") if adapter.is_file() else None,
        _json(config).get("_name_or_path") if config.is_file() else None,
        run.get("config", {}).get("model_name_or_path"),
    )
    name = next((name for name in names if name), None)
    if name is None or Path(name).resolve() == folder.resolve():
        return None
    if Path(name).is_dir():
        return Path(name)
    if is_hub_id(name):
        return _download(name, f"{folder} names {name} as its base")
    raise InputError(f"{folder}: its base model {name} is not on this machine")


def recorded_box_frame(checkpoint: Checkpoint) -> str | None:
    """The box frame of the run that made a checkpoint, `None` where no manifest tells.

    Raises:
        InputError: for a `manifest.json` that is not a run's.
    """
    return _run_record(checkpoint.path).get("config", {}).get("box_frame")


def _run_record(folder: Path) -> dict[str, Any]:
    owner = folder.resolve().parent if _CHECKPOINT.fullmatch(folder.resolve().name) else folder
    return read_manifest(owner) or {}


def _download(name: str, where: str) -> Path:
    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}: not in the hub's cache, and cannot be downloaded ({reason})") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected an object")
    return document
