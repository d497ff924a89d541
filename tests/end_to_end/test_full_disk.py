"""A disk without room, a small one of its own: one line, what was whole is kept, and with room it goes on."""

import os
import subprocess
import sys

import pytest

from curr_reft.files.manifest import read_manifest

pytestmark = pytest.mark.slow
_UNSHARE = ["unshare", "--mount", "bash", "-c"]


@pytest.fixture
def on_a_small_disk(tmp_path):
    """Runs shell lines where the folder `$DISK` is a disk of a few MB; returns all they print."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(megabytes: int, lines: str) -> str:
        mount = f"mount -t tmpfs -o size={megabytes}m tmpfs {disk} && echo mounted || exit 99"
        result = subprocess.run(
            [*_UNSHARE, f"{mount}\n{lines}"],
            env={**os.environ, "DISK": str(disk), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=500,
        )
        if "mounted" not in result.stdout:
            pytest.skip(f"a disk of its own cannot be mounted here: {result.stderr.strip()[-200:]}")
        return result.stdout + result.stderr

    return run


def error_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


def test_training_keeps_its_last_whole_checkpoint_and_goes_on_with_room(
    on_a_small_disk, root, world, tiny_base, tmp_path
):
    copy = tmp_path / "copy"
    run = (
        f"$PYTHON {root}/train_code/grpo/stage1_judge.py --model_name_or_path {tiny_base}"
        f" --dataset_name {root}/configs/data/stage1_judge/shapes.yaml --image_root {world}"
        " --output_dir $DISK/run --max_steps 8 --save_steps 2 --num_generations 2"
        " --max_completion_length 16 --logging_steps 1 || echo code $?"
    )
    # A checkpoint takes 20 MB.
    text = on_a_small_disk(
        36, f"{run}\nls $DISK/run\nmount -o remount,size=300m $DISK\n{run}\ncp -r $DISK/run {copy}"
    )
    assert text.count("code 2") == 1
    assert "code 1" not in text
    (line,) = error_lines(text)
    assert "disk/run: no space left on the disk or quota" in line
    assert "checkpoint-2 is the newest that was written to the end" in line
    assert "checkpoint-4" not in text.split("code 2")[1].split("going on from")[0]
    record = read_manifest(copy)
    assert record["status"] == "finished"
    assert record["resumed_from"].endswith("checkpoint-2")
    assert record["earlier_starts"][0]["status"] == "failed"


def test_writers_name_the_folder(on_a_small_disk):
    text = on_a_small_disk(1, "$PYTHON -m curr_reft.data.shapes --output_dir $DISK/world; echo code $?")
    assert "code 2" in text
    (line,) = error_lines(text)
    assert "disk/world" in line
