"""The record of a run: what went in, on which versions, and how it ended."""

import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing

FILE_NAME = "manifest.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_PACKAGES = ("torch", "transformers", "trl", "accelerate", "deepspeed", "peft", "datasets", "math-verify")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_step(folder: Path) -> int | None:
    """The step in the name of a trainer's checkpoint folder, `None` for another folder."""
    match = _CHECKPOINT.fullmatch(folder.name)
    return int(match[1]) if match else None


def checkpoints_below(run: Path) -> list[Path]:
    """What lies in a run's folder under the name of a checkpoint, by step."""
    steps = {path: checkpoint_step(path) for path in run.glob("checkpoint-*")}
    return sorted((path for path, step in steps.items() if step is not None), key=steps.__getitem__)


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
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_manifest(output_dir: Path, contents: dict[str, Any]) -> None:
    """Write `contents` with the environment and the starting time, marked as running.

    The records of earlier starts in the same directory are kept under `earlier_starts`.
    """
    record = {**contents, **environment(), "status": "running", "started": _now()}
    before = read_manifest(output_dir)
    if before is not None:
        record["earlier_starts"] = [*before.pop("earlier_starts", []), before]
    _write(output_dir, record)


def mark_finished(output_dir: Path, results: dict[str, Any], **details: Any) -> None:
    """Add the results, and what else there is to say, to the manifest and mark the run as finished."""
    mark_ended(output_dir, "finished", results=results, **details)


def mark_ended(output_dir: Path, status: str, **details: Any) -> None:
    """Write down how a run ended.

    Args:
        status: `finished` when nothing is left to do; `stopped` by a signal; `diverged`; `failed`. A
            run that was killed stays `running`.
        details: What else there is to say: `step`, `reason`, `results`, `stopped_early`.
    """
    record = read_manifest(output_dir) or {}
    _write(output_dir, {**record, "status": status, "ended": _now(), **details})


def _write(output_dir: Path, record: dict[str, Any]) -> None:
    # A killed run, or another process reading it, never sees half a file.
    with replacing(output_dir / FILE_NAME) as file:
        file.write(json.dumps(record, indent=2, default=str) + "\n")


def read_manifest(output_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run directory, `None` where there is none.

    Raises:
        InputError: when the file is there but is no manifest.
    """
    path = output_dir / FILE_NAME
    hint = "move the directory away or choose another"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not JSON ({error}); {hint}") from error
    if not isinstance(record, dict) or "status" not in record:
        raise InputError(f"{path}: not the manifest of a run; {hint}")
    return record
