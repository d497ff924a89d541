"""The record of a run: what went in, on which versions, and whether it finished."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError

FILE_NAME = "manifest.json"
_PACKAGES = ("torch", "transformers", "trl", "accelerate", "deepspeed", "peft", "datasets", "math-verify")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_revision() -> str:
    """The commit this code was run from, `-dirty` when the tree differs, `unknown` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def environment() -> dict[str, Any]:
    """Python, package versions and the code's revision."""
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git_revision": git_revision(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_manifest(output_dir: Path, contents: dict[str, Any]) -> None:
    """Write `contents` with the environment and the starting time, marked as running."""
    output_dir.mkdir(parents=True, exist_ok=True)
    record = {**contents, **environment(), "status": "running", "started": _now()}
    (output_dir / FILE_NAME).write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def mark_finished(output_dir: Path, results: dict[str, Any]) -> None:
    """Add the results to the manifest and mark the run as finished."""
    record = read_manifest(output_dir) or {}
    record |= {"status": "finished", "finished": _now(), "results": results}
    (output_dir / FILE_NAME).write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def read_manifest(output_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run directory, `None` where there is none.

    Raises:
        InputError: when the file is there but is not JSON.
    """
    path = output_dir / FILE_NAME
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); move the directory away or choose another") from error
