"""Real processes: torchrun over gloo, DeepSpeed on a CPU, and the prompts each arrangement sees."""

import json
import os
import subprocess
import sys

import pandas
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from curr_reft.training.completions.groups import read_groups, read_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launch(root, tmp_path_factory, world, tiny_base):
    """Start the stage-1 script under torchrun and return its output directory."""

    def run(name, processes, prompts, *flags):
        out = tmp_path_factory.mktemp(name) / "run"
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"),
            str(root / "train_code/grpo/stage1_judge.py"),
            *("--model_name_or_path", str(tiny_base), "--output_dir", str(out)),
            *("--dataset_name", str(root / "configs/data/stage1_judge/shapes.yaml")),
            *("--image_root", str(world)),
            *("--num_generations", "2", "--per_device_train_batch_size", str(prompts), "--max_steps", "5"),
            *("--max_completion_length", "24", "--log_completions", "--num_completions_to_print", "0"),
            *("--learning_rate", "1e-4", "--save_steps", "5", "--save_only_model", "true"),
            *flags,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
        assert result.returncode == 0, result.stderr[-3000:]
        return out

    return run


def history(out):
    logs = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in logs if "grad_norm" in entry]


def prompts_per_step(out):
    tables = [pandas.read_parquet(path) for path in sorted((out / "completions").glob("*.parquet"))]
    return [sorted({requests[0]["content"] for requests in table["prompt"]}) for table in tables]


def load(checkpoint):
    return AutoModelForImageTextToText.from_pretrained(checkpoint).state_dict()


@pytest.fixture(scope="module")
def two_processes(launch):
    return launch("two", 2, 1)


def test_one_process_of_two_prompts_and_two_of_one_see_the_same_prompts(launch, two_processes):
    one = launch("one", 1, 2)
    assert len(prompts_per_step(one)) == 5
    assert all(len(prompts) == 2 for prompts in prompts_per_step(one))
    assert prompts_per_step(one) == prompts_per_step(two_processes)
    groups = [read_groups(run, read_run(run), step=3)[1] for run in (one, two_processes)]
    assert [[len(each.completions) for each in found] for found in groups] == [[2, 2], [2, 2]]
    assert len({frozenset(each.id for each in found) for found in groups}) == 1


def test_groups_are_drawn_again_alike_by_one_process_and_three(launch, tmp_path):
    # Of a group, and so of a process, every second completion is right: where the row is one of four.
    (tmp_path / "rewards.py").write_text(
        "def seldom(completions, id, log_extra, **_):\n"
        "    log_extra('row', list(id))\n"
        "    lines = [int(row.rpartition(':')[2]) for row in id]\n"
        "    return [float(place % 2) if line % 4 == 0 else 1.0 for place, line in enumerate(lines)]\n"
    )
    more = ("--dynamic_sampling", "true", "--max_resampling", "30", "--reward_funcs")
    more = (*more, f"{tmp_path}/rewards.py:seldom")
    one, three = launch("one-again", 1, 3, *more), launch("three-again", 3, 1, *more)
    of_one, of_three = (
        [(each["dynamic_sampling/prompts"], each["dynamic_sampling/rounds"]) for each in history(out)]
        for out in (one, three)
    )
    assert max(rounds for _, rounds in of_one) > 1
    assert of_three == of_one
    for paths in zip(*(sorted((out / "completions").iterdir()) for out in (one, three)), strict=True):
        expected, actual = map(pandas.read_parquet, paths)
        assert (expected["advantage"] != 0).all()
        assert actual["row"].tolist() == expected["row"].tolist()
        assert actual["advantage"].tolist() == expected["advantage"].tolist()


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_deepspeed_trains_like_data_parallel(name, launch, two_processes, root, tiny_base):
    out = launch(name, 2, 1, "--deepspeed", str(root / f"configs/deepspeed/{name}.json"))
    expected, actual = history(two_processes), history(out)
    assert len(actual) == 5
    for plain, sharded in zip(expected, actual, strict=True):
        assert sharded["loss"] == pytest.approx(plain["loss"], rel=1e-4, abs=1e-7)
        assert sharded["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-4)
        assert sharded["reward"] == plain["reward"]
    shapes = {name: value.shape for name, value in load(tiny_base).items()}
    for checkpoint in (out, out / "checkpoint-5"):
        assert {name: value.shape for name, value in load(checkpoint).items()} == shapes


@pytest.fixture(scope="module")
def adapter(tiny_base, tmp_path_factory):
    """An adapter such as an earlier stage leaves."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForImageTextToText.from_pretrained(tiny_base), config).save_pretrained(folder)
    return folder


def test_deepspeed_goes_on_with_an_adapter_like_data_parallel(launch, adapter, root):
    flags = (
        "--model_name_or_path",
        str(adapter),
        "--learning_rate",
        "1e-3",
        "--gradient_checkpointing",
        "true",
    )
    plain = launch("plain", 2, 1, *flags)
    sharded = launch("sharded", 2, 1, *flags, "--deepspeed", str(root / "configs/deepspeed/zero3.json"))
    assert history(plain)[0]["kl"] == history(sharded)[0]["kl"] == 0
    for ours, theirs in zip(history(sharded), history(plain), strict=True):
        assert ours["kl"] == pytest.approx(theirs["kl"], rel=1e-2, abs=1e-7)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    started, one, other = (
        load_file(path / "adapter_model.safetensors") for path in (adapter, plain, sharded)
    )
    assert started.keys() == one.keys() == other.keys()
    for name, weight in started.items():
        assert not torch.equal(weight, one[name])
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-4)


def test_math_verify_keeps_its_clock_under_torchrun(tmp_path):
    script = tmp_path / "compare.py"
    script.write_text(
        "import sys\n"
        "from curr_reft.answers.maths import compare\n"
        "pairs = [('0.5', '1/2'), ('(x+y+z+w)^{99}', '35'), ('2', '2.0')]\n"
        "sys.stdout.write(' '.join(compare(*pair).name for pair in pairs) + '\\n')\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run([*launcher, str(script)], capture_output=True, text=True, check=True, timeout=300)
    assert sorted(result.stdout.splitlines()) == ["EQUAL TIMEOUT EQUAL"] * 2
