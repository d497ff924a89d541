"""What `--model` names: one checkpoint, an adapter, a hub id, or a training run with all its checkpoints."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from transformers import GenerationConfig, ProcessorMixin

from curr_reft.boxes import BoxFrame
from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.manifest import checkpoint_step, checkpoints_below, read_manifest, sha256_of
from curr_reft.models.processor import is_hub_id, load_processor
from curr_reft.models.weights import check_files, download, has_weights

# Weights, configuration, processor and tokenizer.
_DECIDES_ANSWERS = (
    *("*.safetensors", "*.safetensors.index.json", "*_model*.bin", "*_model*.bin.index.json"),
    *("config.json", "generation_config.json", "adapter_config.json", "*processor_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "*.model"),
    "chat_template*",
)
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

    def processor(
        self, min_pixels: int | None = None, max_pixels: int | None = None, flag: str = "--model"
    ) -> ProcessorMixin:
        """The checkpoint's own processor, or else the one of the model that its files name as its base.

        Raises:
            InputError: when there is none.
        """
        return load_processor(
            str(self.processor_folder),
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            config=str(self.weights),
            flag=flag,
        )

    @property
    def processor_folder(self) -> Path:
        """Where the files of processor and tokenizer are."""
        return self.path if self.has_processor() else self.base or _named_base(self.path) or self.path

    def repetition_penalty(self) -> float:
        """The one of the checkpoint's generation configuration, which the released evaluator applies too.

        Raises:
            InputError: when there is such a configuration and it cannot be read.
        """
        for folder in dict.fromkeys((self.path, self.weights)):
            path = folder / "generation_config.json"
            if path.is_file():
                try:
                    return GenerationConfig.from_pretrained(folder).repetition_penalty or 1.0
                except (OSError, ValueError, TypeError) as error:
                    raise InputError(f"{path}: cannot be read ({error})") from error
        return 1.0

    def architecture(self) -> dict[str, Any]:
        """Model type, hidden size and number of layers, as the configuration has them."""
        config = read_object(self.weights / "config.json")
        text = {**config, **config.get("text_config", {})}
        return {
            "model_type": config.get("model_type"),
            "hidden_size": text.get("hidden_size"),
            "layers": text.get("num_hidden_layers"),
        }

    def digest(self) -> str:
        """Digest of everything that answers depend on: weights, configuration, processor, tokenizer."""
        digest = hashlib.sha256()
        for folder in dict.fromkeys((self.path, self.weights, self.processor_folder)):
            for path in sorted({path for pattern in _DECIDES_ANSWERS for path in folder.glob(pattern)}):
                if path.is_file():
                    digest.update(f"{path.name} {sha256_of(path)}\n".encode())
        return digest.hexdigest()


def find_checkpoints(model: str, final_only: bool, faults: dict[str, str]) -> list[Checkpoint]:
    """The checkpoints that `--model` names, by step; a run's final weights come last.

    Args:
        model: A checkpoint, an adapter, a folder of `checkpoint-*`, a hub id (downloaded when it is not yet).
        final_only: Of a training run, only its final weights.
        faults: Gets what is wrong with checkpoints of a run that cannot be used, by their names.

    Raises:
        InputError: when there are none that can be used.
    """
    folder = Path(model)
    if not folder.is_dir():
        if not is_hub_id(model):
            raise InputError(f"--model {model}: no such directory")
        found = download(model, f"--model {model}: no such directory")
        return [checkpoint_at(found, name=model.rpartition("/")[2])]
    places = [place for place in checkpoints_below(folder) if place.is_dir()]
    if final_only or not places:
        return [checkpoint_at(folder)]
    if has_weights(folder):
        places.append(folder)
    found = []
    for place in places:
        name = "final" if place == folder else place.name
        try:
            found.append(replace(checkpoint_at(place, name=name), folder=name))
        except InputError as error:
            faults[name] = str(error)
    if not found:
        raise InputError(f"--model {model}: {'; '.join(faults.values())}")
    return found


def checkpoint_at(
    folder: Path, flag: str = "--model", name: str | None = None, base: Path | None = None
) -> Checkpoint:
    """The weights or the adapter in a folder.

    Args:
        flag: What named it, for messages.
        name: Of the checkpoint; the folder's when there is none.
        base: The model that an adapter belongs to, where its files name another place.

    Raises:
        InputError: when there are none, they were not written to the end, or an adapter's base is missing.
    """
    if not has_weights(folder):
        raise InputError(f"{flag} {folder}: holds no weights (*.safetensors) and no checkpoint-*")
    check_files(folder)
    if base is None and (folder / "adapter_config.json").is_file():
        named = _named_base(folder)
        if named is None:
            raise InputError(f"{folder / 'adapter_config.json'}: names no base_model_name_or_path")
        base = named
    step = checkpoint_step(folder.absolute())
    owner = folder.absolute() if step is None else folder.absolute().parent
    is_run = any((place / "trainer_state.json").is_file() for place in (folder, owner))
    state = folder / "trainer_state.json"
    if step is None and state.is_file():
        step = read_object(state).get("global_step")
    return Checkpoint(name or folder.resolve().name, folder, step, base, owner if is_run else None)


def _named_base(folder: Path) -> Path | None:
    """The model that a checkpoint's files say it was made from, on this machine.

    Raises:
        InputError: when it is named and not there.
    """
    adapter, config, run = folder / "adapter_config.json", folder / "config.json", _run_record(folder)
    names = (
        read_object(adapter).get("base_model_name_or_path") if adapter.is_file() else None,
        read_object(config).get("_name_or_path") if config.is_file() else None,
        (run.get("config") or {}).get("model_name_or_path"),
    )
    name = next((name for name in names if name), None)
    if name is None or Path(name).resolve() == folder.resolve():
        return None
    if Path(name).is_dir():
        return Path(name)
    if is_hub_id(name):
        return download(name, f"{folder}: its base model {name} is not on this machine")
    hint = f"; merge the two with 'python -m curr_reft.models.merge {folder} OUT --base DIR'"
    raise InputError(
        f"{folder}: its base model {name} is not on this machine{hint if adapter.is_file() else ''}"
    )


def recorded_box_frame(checkpoint: Checkpoint) -> BoxFrame | None:
    """The box frame of the run that made a checkpoint, `None` where no manifest tells.

    Raises:
        InputError: for a `manifest.json` that is not a run's.
    """
    frame = (_run_record(checkpoint.path).get("config") or {}).get("box_frame")
    if frame not in (None, *get_args(BoxFrame)):
        raise InputError(f"{checkpoint.path}: the manifest of its run names an unknown box_frame, {frame!r}")
    return frame


def _run_record(folder: Path) -> dict[str, Any]:
    owner = folder if checkpoint_step(folder.resolve()) is None else folder.resolve().parent
    return read_manifest(owner) or {}
