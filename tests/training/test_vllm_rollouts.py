"""Rollouts by vLLM: configurations, refusals, and on stand-ins what `tests/real_vllm` cannot run on a CPU.

That is a server that takes weights, by NCCL, and a vLLM that reads other images than the trainer. Sleep mode,
which needs a GPU too, is TRL's own and has no test.
"""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from trl.generation.vllm_generation import VLLMGeneration

from curr_reft.data.prompts import image_token_count, render_prompt
from curr_reft.errors import InputError
from curr_reft.models.processor import load_processor
from curr_reft.models.vllm_support import VERSION
from curr_reft.stages import STAGES
from curr_reft.training.arguments import parse_arguments
from curr_reft.training.run import prepare
from curr_reft.training.vllm_rollouts import (
    GroupEngine,
    GroupRollouts,
    check_vllm,
    one_token_per_image,
    pixel_limits,
)

ROOT = Path(__file__).resolve().parents[2]
ENGINE = """
class EngineArgs:
    add_cli_args = staticmethod(lambda parser: parser)
    from_cli_args = staticmethod(lambda flags: EngineArgs())
    create_model_config = lambda self: None
"""
OVERLAYS = sorted(ROOT.glob("configs/qwen*/vllm_*.yaml"))
PAIRS = [(overlay, stage) for overlay in OVERLAYS for stage in sorted(overlay.parent.glob("stage*.yaml"))]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_each_size_has_a_configuration_per_mode():
    assert [name(path) for path in OVERLAYS] == [
        f"qwen2_5_vl_{size}/vllm_{mode}" for size in ("3b", "7b") for mode in ("colocate", "server")
    ]


@pytest.mark.parametrize(("overlay", "stage"), PAIRS, ids=lambda path: name(path))
def test_configuration_goes_on_top_of_each_stage(overlay, stage, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = ["--image_root", "x", "--dry_run"]
    _, alone, _ = parse_arguments(["--config", str(stage), *flags])
    data, config, _ = parse_arguments(["--config", str(stage), "--config", str(overlay), *flags])
    assert not alone.use_vllm
    assert config.use_vllm
    assert config.vllm_mode == overlay.stem.removeprefix("vllm_")
    # The released objective corrects for nothing, and no library default may decide that.
    assert yaml.safe_load(overlay.read_text())["vllm_importance_sampling_correction"] is False
    assert config.vllm_importance_sampling_correction is False
    assert (config.beta, config.top_k, config.learning_rate) == (alone.beta, alone.top_k, alone.learning_rate)
    assert "vLLM is not installed" in check_vllm(data, config)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=name)
def test_configuration_plans(overlay, stage_flags, monkeypatch):
    monkeypatch.chdir(ROOT)
    stage = overlay.parent / "stage3_open.yaml"
    flags = ["--config", str(stage), "--config", str(overlay), *stage_flags("open", "--dry_run")]
    run = prepare(STAGES["open"], flags)
    assert run.plan.steps > 0
    assert any("vLLM is not installed" in note for note in run.plan.notes)


def test_vllm_alone_keeps_the_released_objective(stage_flags):
    _, config, _ = parse_arguments(stage_flags("open", "--use_vllm", "true"))
    assert config.vllm_mode == "colocate"
    assert config.vllm_importance_sampling_correction is False


@pytest.mark.slow
def test_without_vllm_a_run_ends_in_one_line_before_weights_load(stage_flags, tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base/model.safetensors").write_text("no weights: whoever loads them fails in another way")
    flags = stage_flags("open", "--model_name_or_path", str(tmp_path / "base"), "--use_vllm", "true")
    result = subprocess.run(
        [sys.executable, ROOT / "train_code/grpo/stage3_open.py", *flags],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 2
    assert "Stage 3" not in result.stdout
    assert [line for line in result.stderr.splitlines() if line.startswith("error")] == [
        "error: --use_vllm: vLLM is not installed; train_code/README.md (Rollouts by vLLM) says how to"
        " install vllm 0.25.1, or pass --use_vllm false"
    ]
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_nothing_imports_vllm_unless_asked(tmp_path):
    # TRL's trainer imports vLLM wherever it is installed, which nobody but TRL can change; so two cases.
    training = "curr_reft.training.run, curr_reft.training.trainer"
    without = f"import {training}, sys; assert 'vllm' not in sys.modules"
    (tmp_path / "vllm.py").write_text("raise RuntimeError('vLLM was imported')\n")
    with_vllm = (
        "import curr_reft.training.arguments, curr_reft.training.vllm_rollouts,"
        " curr_reft.self_improvement.candidates, curr_reft.evaluation.backends.vllm_backend,"
        " curr_reft.evaluation.models"
    )
    here = os.environ.get("PYTHONPATH", "")
    for code, path in ((without, here), (with_vllm, f"{tmp_path}{os.pathsep}{here}")):
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--vllm_mode", "sever"), "--vllm_mode sever: use one of colocate, server"),
        (("--vllm_max_model_length", "2000"), "--vllm_max_model_length 2000: must be 2096 or more"),
        (("--vllm_tensor_parallel_size", "2"), "--vllm_tensor_parallel_size 2: must divide"),
    ],
)
def test_settings_that_contradict_are_refused(flags, message, stage_flags, monkeypatch):
    monkeypatch.setattr("curr_reft.training.vllm_rollouts.vllm_fault", lambda share: None)
    data, config, _ = parse_arguments(stage_flags("open", "--use_vllm", "true"))
    assert check_vllm(data, config) is None
    data, config, _ = parse_arguments(stage_flags("open", "--use_vllm", "true", *flags))
    with pytest.raises(InputError, match=message) as caught:
        check_vllm(data, config)
    assert "\n" not in str(caught.value)


@pytest.fixture
def small(tiny_base):
    """A processor of other pixel limits than its checkpoint's."""
    return load_processor(str(tiny_base), min_pixels=784, max_pixels=4000)


@pytest.fixture
def photos():
    return [Image.new("RGB", size, "red") for size in ((84, 84), (140, 112))]


def tokenized(processor, image, text="How many?") -> list[int]:
    return processor(text=[render_prompt(processor, text)], images=[image])["input_ids"][0]


def generation(mode: str, **parts) -> VLLMGeneration:
    """TRL's own object, around stand-ins for vLLM."""
    made = object.__new__(VLLMGeneration)
    settings = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "logprobs")
    vars(made).update(dict.fromkeys(settings, 1), mode=mode, generation_kwargs={}, tensor_parallel_size=1)
    made.max_completion_length = 48
    made.accelerator = SimpleNamespace(is_main_process=True, process_index=0)
    made.enable_sleep_mode, made.structured_outputs_regex, made.model = False, None, torch.nn.Linear(1, 1)
    vars(made).update(parts)
    return made


def test_colocate_refuses_a_vllm_that_sees_other_images(tiny_base, small, photos):
    class VllmOfOtherLimits:
        def generate(self, prompts, *, sampling_params, use_tqdm):
            read = tokenized(load_processor(str(tiny_base)), prompts[0]["multi_modal_data"]["image"])
            return [SimpleNamespace(prompt_token_ids=read, outputs=[SimpleNamespace()])]

    engine = GroupEngine(VllmOfOtherLimits(), small)
    prompt = {"prompt_token_ids": tokenized(small, photos[1]), "multi_modal_data": {"image": photos[1]}}
    trained = image_token_count(photos[1].size, small)
    with pytest.raises(InputError, match=rf"vLLM reads \[20\] tokens .* training reads \[{trained}\]"):
        engine.generate([prompt], SimpleNamespace(logit_bias=None), use_tqdm=False)


def test_runs_of_image_tokens_become_one():
    assert one_token_per_image([1, 9, 9, 9, 2, 2, 9, 3], image_token=9) == [1, 9, 2, 2, 9, 3]
    assert one_token_per_image([], image_token=9) == []


def test_vllms_pixel_limits_make_the_trainers_images(tiny_base, small, photos):
    # vLLM hands these to the checkpoint's own processor.
    own = load_processor(str(tiny_base))
    for image in photos:
        ours = small.image_processor(images=[image], return_tensors="pt")
        vllms = own.image_processor(images=[image], return_tensors="pt", **pixel_limits(small))
        assert isinstance(vllms, BatchFeature)
        assert torch.equal(ours["pixel_values"], vllms["pixel_values"])
    assert pixel_limits(small) == {"min_pixels": 784, "max_pixels": 4000}


class StandInForClient:
    """TRL's `VLLMClient` before a server whose processor is given."""

    def __init__(self, processor):
        self.processor, self.requests = processor, []
        self.base_url, self.session, self.forgotten = "http://server", self, []

    def reset_prefix_cache(self):
        self.forgotten.append("prefixes")

    def post(self, url):
        self.forgotten.append(url)
        return self

    def raise_for_status(self):
        pass

    def image_features(self, images):
        counts = [image_token_count(image.size, self.processor) for (image,) in images]
        return [{"mm_placeholders": {"image": [{"offset": 3, "length": count}]}} for count in counts]

    def generate(self, prompts, features, n, generation_kwargs, **sampling):
        self.requests.append((prompts, features, n, generation_kwargs))
        completions = [[group, place] for group in range(len(prompts)) for place in range(n)]
        return {"prompt_ids": prompts, "completion_ids": completions, "logprobs": None}


def test_server_gets_each_prompt_once_and_must_have_the_trainers_pixel_limits(
    tiny_base, small, photos, monkeypatch
):
    module = "trl.generation.vllm_generation"
    monkeypatch.setattr(f"{module}.gather_object", lambda rows: rows)
    monkeypatch.setattr(f"{module}.broadcast_object_list", lambda rows, from_process: rows)
    prompts = [tokenized(small, image) for image in photos for _ in range(3)]
    images = [[image] for image in photos for _ in range(3)]
    client = StandInForClient(small)
    rollouts = GroupRollouts(generation("server", vllm_client=client, processing_class=small), small)
    ids, completions, _, _ = rollouts.generate(prompts, images, 3)
    assert ids == prompts
    assert completions == [[group, place] for group in range(2) for place in range(3)]
    sent, features, count, kwargs = client.requests[0]
    assert (sent, count) == (prompts[::3], 3)
    assert [feature["mm_placeholders"]["image"][0]["length"] for feature in features] == [
        ids.count(small.image_token_id) for ids in sent
    ]
    assert kwargs == {"logit_bias": {str(small.image_token_id): -100.0}}

    other = StandInForClient(load_processor(str(tiny_base)))
    rollouts = GroupRollouts(generation("server", vllm_client=other, processing_class=small), small)
    with pytest.raises(InputError, match="MIN_PIXELS=784 MAX_PIXELS=4000"):
        rollouts.generate(prompts, images, 3)
    assert not other.requests


def test_server_forgets_images_with_the_weights_that_saw_them(small):
    client = StandInForClient(small)
    rollouts = GroupRollouts(generation("server", vllm_client=client, processing_class=small), small)
    rollouts.vllm_client.reset_prefix_cache()
    assert client.forgotten == ["prefixes", "http://server/reset_encoder_cache"]


def test_other_processes_have_no_client(small):
    GroupRollouts(generation("server", processing_class=small), small)


@pytest.fixture
def server(tmp_path):
    """Run scripts/vllm_server.sh with stand-ins for vLLM, whose command writes its arguments down."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "vllm").write_text('#!/usr/bin/env bash\necho "$VLLM_SERVER_DEV_MODE"\nprintf "%s\\n" "$@"\n')
    (tmp_path / "vllm").chmod(0o755)
    (tmp_path / "packages/vllm/engine").mkdir(parents=True)
    (tmp_path / "packages/vllm/engine/arg_utils.py").write_text(ENGINE)

    def run(*arguments, installed=VERSION, **environment):
        metadata = tmp_path / f"packages/vllm-{installed}.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Name: vllm\nVersion: {installed}\n")
        names = ("MODEL", "GPUS", "HOST", "PORT", "MAX_LENGTH", "MIN_PIXELS", "MAX_PIXELS")
        inherited = {key: value for key, value in os.environ.items() if key not in names}
        paths = {
            "PATH": [tmp_path, os.path.dirname(sys.executable), os.environ["PATH"]],
            "PYTHONPATH": [tmp_path / "packages", *filter(None, [os.environ.get("PYTHONPATH")])],
        }
        result = subprocess.run(
            ["bash", ROOT / "scripts/vllm_server.sh", *arguments],
            capture_output=True,
            text=True,
            env={
                **inherited,
                "VIRTUAL_ENV": "x",
                "PORT": str(port),
                **{name: os.pathsep.join(map(str, each)) for name, each in paths.items()},
                **environment,
            },
            check=False,
        )
        return result.returncode, result.stdout.splitlines(), result.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("size", ["3b", "7b"])
def test_server_script_serves_the_base_of_a_size_as_training_asks_for_it(size, server):
    name, pixels = f"qwen2_5_vl_{size}", {"MIN_PIXELS": "4", "MAX_PIXELS": "9"}
    # The memory of this machine is not what is tried here.
    more = ("--gpu-memory-utilization", "0", "--enforce-eager")
    code, lines, error = server(name, *more, **pixels)
    assert code == 0, error
    development, *flags = lines
    assert (development, flags[0]) == ("1", "serve")
    assert flags[1] == f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct"
    values = dict(zip(flags[2:-1:2], flags[3::2], strict=False))
    config = yaml.safe_load((ROOT / f"configs/{name}/vllm_server.yaml").read_text())
    assert f"PORT=${{PORT:-{config['vllm_server_port']}}}" in (ROOT / "scripts/vllm_server.sh").read_text()
    assert values["--host"] == "127.0.0.1"
    assert yaml.safe_load(values["--mm-processor-kwargs"]) == {"min_pixels": 4, "max_pixels": 9}
    assert values["--logprobs-mode"] == "processed_logprobs"
    assert yaml.safe_load(values["--weight-transfer-config"]) == {"backend": "nccl"}
    assert flags[-1] == "--enforce-eager"
    assert "--mm-processor-kwargs" not in server(name, *more)[1]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((), {}, "usage: scripts/vllm_server.sh SIZE"),
        (("huge",), {}, "error: no configuration configs/huge/vllm_server.yaml"),
        (("qwen2_5_vl_3b",), {"MAX_PIXELS": "9"}, "error: give both MIN_PIXELS and MAX_PIXELS"),
        (
            ("qwen2_5_vl_3b",),
            {"installed": "0.24.0"},
            f"error: vLLM 0.24.0 is installed, and this was written for {VERSION}; install that version",
        ),
    ],
)
def test_server_script_says_what_is_wrong(arguments, environment, message, server):
    code, lines, error = server(*arguments, **environment)
    assert (code, lines) == (2, [])
    assert error.startswith(message)
    assert error.count("\n") == 1
