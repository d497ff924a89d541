"""Sample, judge and select on the tiny base, by the shell script: what comes out is fit for fine-tuning."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from curr_reft.data.shapes.__main__ import write_world
from curr_reft.sft.check import check_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("improvement") / "data"
    write_world(folder, train=0, val=0, test=3, seed=3, queries=8)
    return folder


@pytest.fixture(scope="module")
def script(data):
    """Runs `scripts/self_improvement.sh` on the tiny base."""

    def run(*flags: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {
            **os.environ,
            "MODEL": str(ROOT / "train_code/curr_reft/data/shapes/tiny/base"),
            "CONFIG": str(ROOT / "configs/self_improvement/shapes.yaml"),
            "DATA_ROOT": str(data),
            "OUTPUT": str(data.parent / "work"),
            "DATA": str(data.parent / "SFT_data/reject/chosen.jsonl"),
            "JUDGE": "rule",
            "NPROC": "2",
            "OMP_NUM_THREADS": "1",
            **variables,
        }
        command = ["bash", str(ROOT / "scripts/self_improvement.sh"), "--max_new_tokens", "80", *flags]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_what_is_selected_passes_the_check_before_fine_tuning(script, data):
    ran = script("--num_samples", "4")
    assert ran.returncode == 0, ran.stderr
    rows = [
        json.loads(line) for line in (data.parent / "SFT_data/reject/chosen.jsonl").read_text().splitlines()
    ]
    statistics = json.loads((data.parent / "work/selection.json").read_text())
    assert sum(source["selected"] for source in statistics["sources"]) == len(rows) > 3

    checked = check_file(
        data.parent / "SFT_data/reject/chosen.jsonl",
        model=str(ROOT / "train_code/curr_reft/data/shapes/tiny/base"),
        system=None,
        max_length=1024,
        max_pixels=None,
        suites=ROOT / "configs/eval/shapes.yaml",
        data_root=data,
    )
    assert (checked.rows, checked.warnings) == (len(rows), [])
    assert (data.parent / "work/selection.png").stat().st_size > 10_000


def test_a_model_as_judge_needs_an_address(script):
    ran = script(JUDGE="llm", JUDGE_URL="", JUDGE_MODEL="")
    assert ran.returncode == 2
    assert ran.stderr == "error: JUDGE=llm needs JUDGE_URL and JUDGE_MODEL; JUDGE=rule needs no server\n"
