"""The data card's example of rows of one's own, run as it stands there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_three_rows_of_ones_own_go_through_everything(tmp_path):
    section = (ROOT / "grpo_sft_data/README.md").read_text(encoding="utf-8").partition("## Your own rows")[2]
    script = section.partition("```bash\n")[2].partition("```")[0]
    for name in ("configs", "train_code"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "3 (classify 1, detection 1, math 1)" in done.stdout
    assert len((tmp_path / "mine/judge.jsonl").read_text().splitlines()) == 6
    page = (tmp_path / "mine/preview/preview.html").read_text()
    assert page.count("data:image/") == 3
