"""The Slurm job with stand-ins for Slurm, and the image's pins; neither is run for real."""

import os
import re
import subprocess

import pytest

_STUBS = {
    "scontrol": 'printf "%s\\n" first second\n',
    # As on node 1: of a step's processes, the one that would start torchrun says how.
    "srun": 'shift; SLURM_NODEID=1 exec "$@"\n',
    "python": 'echo "node $NODE_RANK of $NNODES at $MASTER_ADDR: $*"\n',
}


@pytest.fixture
def submitted(root, tmp_path):
    """Runs the job as Slurm would, a copy of it in a folder of its own; returns code, lines and errors."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in _STUBS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (folder / name).chmod(0o755)
    copy = tmp_path / "slurm_script"
    copy.write_bytes((root / "scripts/slurm/curriculum.sbatch").read_bytes())

    def run(*arguments, **environment):
        slurm = {"SLURM_SUBMIT_DIR": str(root), "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "node[1-2]"}
        result = subprocess.run(
            ["bash", copy, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                "PATH": f"{folder}:{os.environ['PATH']}",
                "VIRTUAL_ENV": "x",
                "OUTPUT": str(tmp_path / "out"),
                **slurm,
                **environment,
            },
        )
        return result.returncode, result.stdout.splitlines(), result.stderr

    return run


def test_one_node_trains_the_3b(submitted, root):
    code, lines, _ = submitted()
    assert code == 0
    config = f"{root}/configs/qwen2_5_vl_3b/curriculum.yaml"
    assert lines[0].startswith(f"node 1 of 1 at first: -m curr_reft.curriculum {config} ")
    assert lines[0].endswith(" --processes 8")


def test_two_nodes_train_the_7b(submitted):
    code, lines, _ = submitted("qwen2_5_vl_7b", "--report_to", "none", SLURM_NNODES="2", MODEL="my/base")
    assert code == 0
    assert lines[0].startswith("node 1 of 2 at first: ")
    assert lines[0].endswith(" --processes 8 --report_to none")
    assert "--model my/base" in lines[0]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_SUBMIT_DIR": ""}, "submit this file with sbatch"),
        ({"SLURM_SUBMIT_DIR": "/"}, "submit from the repository's root"),
    ],
)
def test_a_wrong_folder_is_named(environment, message, submitted):
    code, lines, error = submitted(**environment)
    assert code
    assert lines == []
    assert message in error


def test_the_image_has_the_uv_of_the_scripts_and_a_tag(root):
    text = (root / "scripts/docker/Dockerfile").read_text()
    (version,) = re.findall(r"^UV_VERSION=(\S+)", (root / "scripts/uv.sh").read_text(), re.MULTILINE)
    assert f"astral-sh/uv:{version} " in text
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["nvidia/cuda:13.0.1-runtime-ubuntu24.04"]
