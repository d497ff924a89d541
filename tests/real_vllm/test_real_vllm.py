"""Evaluation, training and serving by the real vLLM, in its CPU build, on the tiny model.

Not here, since a CPU cannot do it: rollouts by a server, whose weights go by NCCL
(`tests/training/test_vllm_rollouts.py` has a stand-in for it), and sleep mode, which vLLM ignores on a CPU.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_servers import wait_for_health

from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.evaluation.pass_at_k.command import main as pass_at_k
from curr_reft.self_improvement.candidates import main as sample_candidates
from curr_reft.self_improvement.records import CANDIDATES, read_candidates

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
def serve(environment, sampling_base, tmp_path):
    """Start scripts/vllm_server.sh for the tiny base on a port; returns its process and what it writes."""
    started = []

    def start(port: int, *flags: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"serve{len(started)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                ["bash", ROOT / "scripts/vllm_server.sh", "qwen2_5_vl_3b", "--dtype", "float32", *flags],
                env={**environment, "MODEL": str(sampling_base), "PORT": str(port)},
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
    """End a server and all that it started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def test_a_server_answers_is_killed_and_started_again(
    serve, sampling_base, world, by_transformers, evaluation_flags, tmp_path
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    endpoint = ["--model_url", url, "--model_name", str(sampling_base), "--threads", "4", "--attempts", "1"]
    server, log = serve(port)
    wait_for_health(url, server, log)

    second, said = serve(port)
    assert second.wait(60) == 2
    assert said.read_text() == (
        f"error: PORT={port}: something listens on it already; end that, or choose another\n"
    )

    flags = [*evaluation_flags[2:], "--backend", "endpoint", *endpoint, "--max_new_tokens", "64"]
    evaluate([*flags, "--output_dir", str(tmp_path / "served"), "--suites", "in"])
    expected = outputs(by_transformers)
    served = outputs(tmp_path / "served")
    assert served == {name: expected[name] for name in ("detection_in", "classify_in", "math_in")}

    # Killed in the middle of self-improvement, which keeps what was answered.
    config = ["--config", str(ROOT / "configs/self_improvement/shapes.yaml")]
    flags = [*evaluation_flags[4:], *config, "--backend", "endpoint", *endpoint, "--num_samples", "8"]
    flags += ["--output_dir", str(tmp_path / "improvement"), "--max_new_tokens", "48"]
    command = [sys.executable, "-m", "curr_reft.self_improvement.candidates", *flags]
    sampling = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    candidates = tmp_path / "improvement" / CANDIDATES
    while not candidates.exists() or candidates.read_bytes().count(b"\n") < 8:
        assert sampling.poll() is None
        time.sleep(0.01)
    kill(server)
    error = sampling.communicate(timeout=120)[1]
    assert sampling.returncode == 2, error
    assert [url in line for line in error.splitlines() if line.startswith("error")] == [True]
    kept = candidates.read_text().splitlines()
    assert 8 <= len(kept) < 6 * 4 * 8

    server, log = serve(port)
    wait_for_health(url, server, log)
    sample_candidates(flags)
    found = read_candidates(candidates)
    assert len({each.id for each in found}) == len(found) == 6 * 4 * 8
    assert {json.loads(line)["model_output"] for line in kept} <= {each.completion for each in found}
    assert len({each.completion for each in found if each.query == found[0].query}) > 1

    flags = ["--input_file", str(world / "train/choice/choice_math_train.jsonl"), "--task_type", "choice"]
    flags += ["--image_root", str(world), *endpoint, "--k_values", "1,4", "--judge", "rule"]
    pass_at_k([*flags, "--output_dir", str(tmp_path / "pass_at_k"), "--max_new_tokens", "24"])
    record = json.loads((tmp_path / "pass_at_k/choice_pass_at_k.json").read_text())
    assert record["samples"] == len(rows_of(tmp_path / "pass_at_k")["choice_samples"]) > 0
    one, four = (point["pass_at_k"] for point in record["k"])
    assert one <= four


def test_a_flag_that_vllm_does_not_know_is_refused(serve):
    process, said = serve(1, "--no-such-flag")
    assert process.wait(120) == 2
    assert said.read_text().splitlines()[-1] == "vllm: error: unrecognized arguments: --no-such-flag"
