"""Evaluation, training and serving by the real vLLM, in its CPU build, on the tiny model.

Not here, since a CPU cannot do it: rollouts by a server, whose weights go by NCCL
(`tests/training/test_vllm_rollouts.py` has a stand-in for it), and sleep mode, which vLLM ignores on a CPU.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from statistics import fmean

import httpx
import pytest
from chat_servers import wait_for_health

from curr_reft.data.schema import Example, read_examples
from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.evaluation.pass_at_k.command import main as pass_at_k
from curr_reft.rewards import paper
from curr_reft.self_improvement.candidates import main as sample_candidates
from curr_reft.self_improvement.records import CANDIDATES, read_candidates
from curr_reft.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.vllm]


def rows_of(folder: Path) -> dict[str, list[dict]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def outputs(folder: Path) -> dict[str, list[tuple]]:
    return {
        name: [(row["id"], row["model_output"]) for row in rows] for name, rows in rows_of(folder).items()
    }


# Evaluation


def test_vllm_answers_as_transformers_does(by_transformers, evaluation_flags, run, tmp_path):
    flags = [*evaluation_flags, "--output_dir", tmp_path / "out", "--max_new_tokens", "64"]
    result = run("eval/evaluate.py", *flags, "--backend", "vllm")
    assert result.returncode == 0, result.stderr
    ours, theirs = rows_of(tmp_path / "out"), rows_of(by_transformers)
    for rows in (*ours.values(), *theirs.values()):
        for row in rows:
            # Of all that an answer depends on, which backend gave it among the rest.
            del row["digest"]
    assert sum(map(len, ours.values())) == 120
    assert ours == theirs


def test_vllm_samples_answers_to_images_and_to_text_alone(evaluation_flags, run, tmp_path):
    config = ("--config", "configs/self_improvement/shapes.yaml", "--output_dir", tmp_path / "out")
    model, data = evaluation_flags[:2], evaluation_flags[4:]
    sampling = ("--num_samples", "4", "--max_new_tokens", "48", "--backend", "vllm")
    result = run("-m", "curr_reft.self_improvement.candidates", *model, *data, *config, *sampling)
    assert result.returncode == 0, result.stderr
    found = read_candidates(tmp_path / "out" / CANDIDATES)
    assert len(found) == 6 * 4 * 4
    assert {each.image is None for each in found} == {True, False}
    for image in (True, False):
        groups = [found[start : start + 4] for start in range(0, len(found), 4)]
        answers = [
            {each.completion for each in group} for group in groups if (group[0].image is None) == image
        ]
        assert any(len(each) > 1 for each in answers)


# Training


def assert_trains_on_what_vllm_sampled(record: dict) -> None:
    calls, history = record["calls"], record["history"]
    assert [call["step"] for call in calls] == [0, 1, 2, 3]
    for call in calls:
        assert call["read"] == call["sent"]
        assert call["distinct"] == 2
        # What vLLM processed it keeps; what old weights made of an image it must not.
        assert call["processed"] <= call["encoded"] == 2
        assert record["image_token"] not in {token for row in call["completions"] for token in row}
        # Of the weights of this step: those of the last would be far off.
        for vllm, policy in zip(call["vllm"], call["policy"], strict=True):
            assert vllm == pytest.approx(policy, abs=1e-3)
    steps = [entry for entry in history if "grad_norm" in entry]
    assert len(steps) == 4
    assert steps[-1]["kl"] > 0.01
    assert all(entry["rewards/format/mean"] > 0 for entry in steps)
    assert any(entry["reward_std"] > 0 for entry in steps)
    # Nothing is corrected for who sampled: the released objective.
    assert not any("importance_sampling" in name for entry in steps for name in entry)


def test_colocate_rollouts_are_the_policys(trained):
    (record,) = trained()
    assert_trains_on_what_vllm_sampled(record)
    assert record["calls"][0]["greedy"] != record["calls"][-1]["greedy"]
    assert record["history"][0]["shared_prefix/packed"] == 1


def test_two_processes_sample_for_their_own_prompts(trained):
    records = trained(launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"))
    assert len(records) == 2
    assert records[0]["calls"][0]["sent"] != records[1]["calls"][0]["sent"]
    for record in records:
        record["history"] = record["history"] or records[0]["history"]
        assert_trains_on_what_vllm_sampled(record)


def test_image_tokens_are_never_sampled(trained, fond_of_image_tokens):
    (record,) = trained("--model_name_or_path", fond_of_image_tokens, "--shared_prefix", "false")
    assert_trains_on_what_vllm_sampled(record)
    assert record["image_token"] in record["calls"][0]["unbiased"]
    assert "shared_prefix/packed" not in record["history"][0]


# What is refused, before weights load


def test_what_vllm_cannot_do_ends_in_one_line(run, evaluation_flags, stage_flags, changed_base, tmp_path):
    unknown = changed_base(architectures=["OfNobodyForConditionalGeneration"])
    out = ("--output_dir", str(tmp_path / "out"))
    evaluation = ["eval/evaluate.py", *evaluation_flags, *out, "--backend", "vllm"]
    training = ["train_code/grpo/stage3_open.py", *stage_flags("open", "--use_vllm", "true")]
    model = {"eval": ["--model", str(unknown)], "train": ["--model_name_or_path", str(unknown)]}
    no_room, room = {"VLLM_CPU_KVCACHE_SPACE": "99999"}, {"VLLM_CPU_KVCACHE_SPACE": "1"}
    commands = [
        {"environment": no_room, "argv": evaluation},
        {"environment": no_room, "argv": training},
        {"environment": room, "argv": [*evaluation, *model["eval"]]},
        {"environment": room, "argv": [*training, *model["train"]]},
    ]
    script = Path(__file__).with_name("each_command.py")
    result = run(script, stdin=json.dumps(commands))
    assert [line for line in result.stdout.splitlines() if line.isdigit()] == ["2"] * 4, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 4
    assert errors[0].startswith("error: --backend vllm: no room for vLLM's cache: it takes 99999.0 GiB and")
    assert errors[1].startswith("error: --use_vllm: no room for vLLM's cache: it takes 99999.0 GiB and")
    for flag, error in zip(("--model", "--model_name_or_path"), errors[2:], strict=True):
        assert error.startswith(
            f"error: {flag} {unknown}: vLLM cannot serve it: Model architectures ['OfNobody"
        )
    assert "Traceback" not in result.stderr


# Serving


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def serve(environment, sampling_base, port, tmp_path):
    """Start scripts/vllm_server.sh for the tiny base; returns its process and what it writes."""
    started = []

    def start(*flags: str, **settings: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"serve{len(started)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                ["bash", ROOT / "scripts/vllm_server.sh", "qwen2_5_vl_3b", "--dtype", "float32", *flags],
                env={**environment, "MODEL": str(sampling_base), "PORT": str(port), **settings},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process, log

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen) -> None:
    """End a process and all that it started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def begun(answers: Path, *command: str) -> subprocess.Popen:
    """Start a command, and wait until eight of its answers are on the disk."""
    process = subprocess.Popen(
        [sys.executable, *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not answers.exists() or answers.read_bytes().count(b"\n") < 8:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    return process


def lines_of(folder: Path) -> set[str]:
    return {
        line
        for path in folder.glob("*.jsonl")
        for line in path.read_text().splitlines(True)
        if line.endswith("\n")
    }


def answered(url: str) -> int:
    """How many requests a server has answered in all, once it works on none."""
    before = None
    while True:
        metrics = httpx.get(f"{url}/metrics").text
        counts = re.findall(r"^vllm:(num_requests_running|request_success_total)\{.*\} (\S+)$", metrics, re.M)
        assert counts
        if counts == before and all(float(count) == 0 for name, count in counts if "running" in name):
            return int(sum(float(count) for name, count in counts if "success" in name))
        before = counts
        time.sleep(1)


def test_a_server_answers_is_killed_and_started_again(
    serve, sampling_base, port, world, by_transformers, evaluation_flags, tmp_path
):
    url = f"http://127.0.0.1:{port}"
    endpoint = ["--model_url", url, "--model_name", str(sampling_base), "--threads", "4", "--attempts", "1"]
    server, log = serve()
    wait_for_health(url, server, log)

    second, said = serve()
    assert second.wait(60) == 2
    assert said.read_text() == (
        f"error: PORT={port}: something listens on it already; end that, or choose another\n"
    )

    # An evaluation, killed in the middle.
    served = tmp_path / "served"
    flags = [*evaluation_flags[2:], "--backend", "endpoint", *endpoint, "--max_new_tokens", "64"]
    flags += ["--output_dir", str(served), "--suites", "in"]
    kill(begun(served / "detection_in.jsonl", str(ROOT / "eval/evaluate.py"), *flags))
    kept, before = lines_of(served), answered(url)
    assert 8 <= len(kept) < 60
    evaluate(flags)
    assert answered(url) - before == 60 - len(kept)
    expected = outputs(by_transformers)
    assert outputs(served) == {name: expected[name] for name in ("detection_in", "classify_in", "math_in")}

    # The server itself, in the middle of self-improvement, which keeps what was answered.
    improvement = tmp_path / "improvement"
    config = ["--config", str(ROOT / "configs/self_improvement/shapes.yaml")]
    flags = [*evaluation_flags[4:], *config, "--backend", "endpoint", *endpoint, "--num_samples", "8"]
    flags += ["--output_dir", str(improvement), "--max_new_tokens", "48"]
    candidates = improvement / CANDIDATES
    sampling = begun(candidates, "-m", "curr_reft.self_improvement.candidates", *flags)
    kill(server)
    error = sampling.communicate(timeout=120)[1]
    assert sampling.returncode == 2, error
    assert [url in line for line in error.splitlines() if line.startswith("error")] == [True]
    kept = candidates.read_text().splitlines()
    assert 8 <= len(kept) < 6 * 4 * 8

    server, log = serve()
    wait_for_health(url, server, log)
    sample_candidates(flags)
    found = read_candidates(candidates)
    assert len({each.id for each in found}) == len(found) == 6 * 4 * 8
    assert answered(url) == len(found) - len(kept)
    assert {json.loads(line)["model_output"] for line in kept} <= {each.completion for each in found}
    assert len({each.completion for each in found if each.query == found[0].query}) > 1

    # pass@k, killed in the middle and unbroken.
    rows = world / "train/choice/choice_math_train.jsonl"
    flags = ["--input_file", str(rows), "--task_type", "choice", "--image_root", str(world), *endpoint]
    flags += ["--k_values", "1,4", "--num_samples", "8", "--judge", "rule", "--max_new_tokens", "24"]
    broken, whole = (["--output_dir", str(tmp_path / name)] for name in ("broken", "whole"))
    samples = tmp_path / "broken/choice_samples.jsonl"
    kill(begun(samples, str(ROOT / "eval/pass_at_k.py"), *flags, *broken))
    kept, before = lines_of(tmp_path / "broken"), answered(url)
    pass_at_k([*flags, *broken])
    assert kept < lines_of(tmp_path / "broken")
    record = json.loads((tmp_path / "broken/choice_pass_at_k.json").read_text())
    assert answered(url) - before == record["samples"] - len(kept)
    pass_at_k([*flags, *whole])
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "broken")
    assert_estimated(record, samples, {Path(each.id).name: each for each in read_examples(rows, world)})


def assert_estimated(record: dict, samples: Path, examples: dict[str, Example]) -> None:
    """pass@k is the share of the subsets of k samples that hold a right one."""
    verdicts = defaultdict(list)
    for row in map(json.loads, samples.read_text().splitlines()):
        name = row["id"].rpartition("#")[0]
        example = examples[name]
        scored = paper.score(STAGES["choice"], example.task, row["model_output"], example.solution)
        verdicts[name].append(scored.reward == 1)
    assert {len(each) for each in verdicts.values()} == {8}
    assert verdicts.keys() == examples.keys()
    found = {point["k"]: point["pass_at_k"] for point in record["k"]}
    assert found == {
        k: pytest.approx(fmean(any(subset) for each in verdicts.values() for subset in combinations(each, k)))
        for k in (1, 4)
    }
    assert 0 < found[1] < found[4] <= 1


@pytest.mark.parametrize("wrong", ["flag", "architecture", "length", "memory"])
def test_what_cannot_be_served_is_refused_before_weights_load(wrong, serve, changed_base, tmp_path):
    model = changed_base(architectures=["OfNobodyForConditionalGeneration"])
    flags, settings, error = {
        "flag": (["--no-such-flag"], {}, "vllm: error: unrecognized arguments: --no-such-flag"),
        "architecture": (
            *([], {"MODEL": str(model)}),
            f"error: MODEL {model}: vLLM cannot serve it: Model architectures ['OfNobody",
        ),
        "length": (
            [],
            {"MAX_LENGTH": "9999999"},
            "vLLM cannot serve it: User-specified max_model_len (9999999)",
        ),
        "memory": (
            [],
            {"VLLM_CPU_KVCACHE_SPACE": "99999"},
            "error: no room for vLLM's cache: it takes 99999.0 GiB",
        ),
    }[wrong]
    process, said = serve(*flags, **settings)
    assert process.wait(300) == 2, said.read_text()
    assert error in said.read_text().splitlines()[-1]
    assert "Traceback" not in said.read_text()
