"""Packages of the library import those below them alone, also late and inside functions."""

import subprocess
import sys
from pathlib import Path


def test_imports_point_downwards(root):
    # In a process of its own: it turns off the loggers of the one it runs in.
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(lint, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
