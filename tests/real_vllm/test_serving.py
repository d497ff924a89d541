"""Serving by the real vLLM, in its CPU build: answers, kills of the server and of who asks it, refusals."""

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

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.vllm]


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


def outputs(folder: Path) -> dict[str, list[tuple]]:
    return {
        path.stem: [
            (row["id"], row["model_output"]) for row in map(json.loads, path.read_text().splitlines())
        ]
        for path in folder.glob("*.jsonl")
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
        scored = paper.score("choice", example.task, row["model_output"], example.solution)
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
