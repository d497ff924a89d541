"""Shared fixtures: the committed tiny base, a small embedded world, and the stages' trainer classes."""

import gzip
import importlib.util
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from browser import browse  # noqa: F401  (a fixture)
from chat_servers import chat_server, sampling_base, served, server  # noqa: F401  (fixtures)
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "offline")

# How long an example takes depends on what else the machine does.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def golden():
    """Reads a file of rows that the released code was run on (`tests/golden/NAME.jsonl.gz`)."""

    def rows(name: str) -> list[dict]:
        with gzip.open(ROOT / f"tests/golden/{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    return rows


@pytest.fixture
def refused(capsys):
    """Calls a command that must end with exit code 2, and returns what it says on standard error."""

    def error_of(call) -> str:
        with pytest.raises(SystemExit) as ended:
            call()
        assert ended.value.code == 2
        return capsys.readouterr().err

    return error_of


@pytest.fixture(scope="session")
def tiny_base() -> Path:
    return ROOT / "train_code/curr_reft/data/shapes/tiny/base"


@pytest.fixture(scope="session")
def shallow_base(tiny_base, tmp_path_factory) -> Path:
    """A model like the tiny base with a layer less."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    folder = tmp_path_factory.mktemp("shallow")
    shutil.copytree(tiny_base, folder, dirs_exist_ok=True)
    config = AutoConfig.from_pretrained(tiny_base)
    config.text_config.num_hidden_layers -= 1
    config.text_config.layer_types = config.text_config.layer_types[:-1]
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """An embedded world of 12 training, 2 validation and 3 test images."""
    from curr_reft.data.shapes.__main__ import write_world

    directory = tmp_path_factory.mktemp("world")
    write_world(directory, train=12, val=2, test=3, seed=7)
    return directory


@pytest.fixture(scope="session")
def trainers() -> dict[str, type]:
    """The trainer class of each stage, from the entry scripts."""
    classes = {}
    for script in sorted((ROOT / "train_code/grpo").glob("stage[0-9]*.py")):
        spec = importlib.util.spec_from_file_location(script.stem, script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        name = script.stem.split("_")[1]
        classes[name] = getattr(module, f"{name.capitalize()}Trainer")
    return classes


@pytest.fixture
def stage_flags(world, tiny_base, tmp_path):
    """Flags that run a stage on the small world with the tiny base; more flags may follow and win."""
    mixtures = {"judge": "stage1_judge", "choice": "stage2_multi_choice", "open": "others"}

    def flags(stage: str, *more: str) -> list[str]:
        return [
            *("--model_name_or_path", str(tiny_base)),
            *("--dataset_name", str(ROOT / f"configs/data/{mixtures[stage]}/shapes.yaml")),
            *("--image_root", str(world)),
            *("--output_dir", str(tmp_path / "run")),
            *("--max_completion_length", "48"),
            *more,
        ]

    return flags


@pytest.fixture
def port():
    """A port whose next one is free as well."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            number = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", number + 1))
            except OSError:
                continue
            return number
