"""A curriculum on two nodes, which are two agents on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curr_reft.files.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = [
    *("--per_device_train_batch_size", "1", "--num_generations", "2", "--max_completion_length", "16"),
    *("--logging_steps", "1", "--held_out_suites", "none"),
]


@pytest.fixture
def started(root, world, tmp_path, port):
    """Starts the judge stage on both nodes; what each prints is in a file."""
    running: list[subprocess.Popen] = []

    def start(*flags: str) -> list[tuple[subprocess.Popen, Path]]:
        found = []
        for rank in (0, 1):
            environment = {"NNODES": "2", "NODE_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
            environment |= {
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "CURR_REFT_NODE_WAIT_SECONDS": "60",
            }
            places = ("--output_dir", str(tmp_path / "out"), "--data_root", str(world), "--processes", "1")
            config = str(root / "configs/tiny/ablations/judge_only.yaml")
            command = [sys.executable, "-m", "curr_reft.curriculum", config, "--until", "stage1_judge"]
            log = tmp_path / f"node{rank}.log"
            with log.open("w") as file:
                process = subprocess.Popen(
                    [*command, *places, *SMALL, *flags],
                    env={**os.environ, **environment},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=root,
                )
            running.append(process)
            found.append((process, log))
        return found

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()


def test_two_nodes_train_together_and_the_first_one_writes(started, tmp_path):
    (first, said), (second, also_said) = started("--max_steps", "3")
    assert first.wait(timeout=300) == 0, said.read_text()[-2000:]
    assert second.wait(timeout=60) == 0, also_said.read_text()[-2000:]
    run = tmp_path / "out/stage1_judge"
    record = read_manifest(run)
    assert (record["status"], record["processes"]) == ("finished", 2)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps[:3] == [1, 2, 3]
    assert "earlier_starts" not in read_manifest(tmp_path / "out/curriculum")


def test_a_node_that_is_lost_ends_the_other_with_one_line(started, tmp_path):
    (first, said), (second, _) = started("--max_steps", "1000")
    log = tmp_path / "out/stage1_judge/log.jsonl"
    for _ in range(4000):
        if log.exists():
            break
        assert first.poll() is None, said.read_text()[-2000:]
        time.sleep(0.05)
    lost = [*psutil.Process(second.pid).children(recursive=True), psutil.Process(second.pid)]
    for process in lost:
        process.suspend()
    for process in lost:
        process.send_signal(signal.SIGKILL)
    assert first.wait(timeout=180) == 1
    assert said.read_text().strip().splitlines()[-1].startswith("error: node 1 is gone")
