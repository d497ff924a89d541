"""ms-swift itself, stopped and killed: the run ends in the weights of an unbroken one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curr_reft.errors import DivergedError
from curr_reft.files.manifest import read_manifest
from curr_reft.sft.from_rows import main as from_rows

ROOT = Path(__file__).resolve().parents[2]
STOPPED = 75

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not (ROOT / ".venv-sft/bin/swift").exists(), reason="no .venv-sft: scripts/setup.sh makes it"
    ),
]


@pytest.fixture
def start(world, tmp_path, tiny_base):
    """Starts `scripts/sft.sh` on rows of the embedded world."""
    rows = tmp_path / "rows.jsonl"
    mixture = ROOT / "configs/data/others/shapes.yaml"
    from_rows([str(mixture), "--image_root", str(world), "--stage", "open", "--output", str(rows)])

    def run(output: Path, *flags: str) -> subprocess.Popen:
        command = [
            *("bash", ROOT / "scripts/sft.sh", "tiny", "reject_sft", "--max_steps", "40"),
            *("--save_steps", "4", "--save_only_model", "false", "--logging_steps", "1"),
            *("--resumable_checkpoints", "2", "--learning_rate", "1e-3", *flags),
        ]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        places = {"MODEL": str(tiny_base), "DATA": str(rows), "OUTPUT": str(output)}
        with (tmp_path / f"{output.name}.log").open("a") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **places, "OMP_NUM_THREADS": "1", "PATH": path},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    return run


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(4000):
        if path.exists():
            return
        assert process.poll() is None, f"ended with {process.returncode} before {path}"
        time.sleep(0.05)
    raise AssertionError(f"no {path}")


def none_trains(output: Path) -> bool:
    for _ in range(1200):
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        if not any("swift/cli/sft.py" in line and str(output) in line for line in lines):
            return True
        time.sleep(0.05)
    return False


def test_a_run_that_diverges_is_not_finished(start, tmp_path):
    process = start(tmp_path / "out", "--max_grad_norm", "1e30", "--learning_rate", "1e30")
    assert process.wait(timeout=400) == DivergedError.exit_code
    assert "the loss is nan" in (tmp_path / "out.log").read_text().splitlines()[-1]
    record = read_manifest(tmp_path / "out/reject_sft")
    assert record["status"] == "diverged"
    assert not (tmp_path / "out/reject_sft/model.safetensors").exists()


def test_a_run_stopped_and_killed_ends_as_if_nothing_had_been(start, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert start(unbroken).wait(timeout=400) == 0
    out = broken / "reject_sft"

    process = start(broken)
    wait_for(out / "checkpoint-4/trainer_state.json", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=200) == STOPPED
    record = read_manifest(out)
    assert record["status"] == "stopped"
    assert "goes on from" in record["reason"]
    stopped_at = max(int(path.name.rpartition("-")[2]) for path in out.glob("checkpoint-*"))
    assert stopped_at < 40

    process = start(broken)
    wait_for(out / f"checkpoint-{stopped_at // 4 * 4 + 8}/trainer_state.json", process)
    process.kill()
    assert none_trains(out)
    assert read_manifest(out)["status"] == "running"

    assert start(broken).wait(timeout=400) == 0
    assert read_manifest(out)["status"] == "finished"
    final = "reject_sft/model.safetensors"
    assert (broken / final).read_bytes() == (unbroken / final).read_bytes()
    with_state = {path.parent.name for path in out.glob("checkpoint-*/optimizer.pt")}
    assert with_state == {"checkpoint-36", "checkpoint-40"}
