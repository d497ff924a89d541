"""What logs and files say about a part that was run."""

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curr_reft.files.json import read_object
from curr_reft.files.json_lines import read_json_lines

_PLANNED = re.compile(r"memory per device, estimated\W+([\d.]+) GiB")
_MEASURED = ("max_logp_diff", "policy_speedup", "step_speedup", "memory_ratio", "policy_bytes")


def planned_gib(log: Path) -> float | None:
    """The largest memory plan that a log's stages printed, in GiB; `None` where none did."""
    return max(map(float, _PLANNED.findall(log.read_text("utf-8", errors="replace"))), default=None)


def benchmark(log: Path) -> dict[str, Any]:
    """The object that the step benchmark printed among its progress."""
    text = log.read_text("utf-8", errors="replace")
    found, _ = json.JSONDecoder().raw_decode(text, text.rindex("\n{\n") + 1)
    step = {name: found[name]["step"] for name in ("step_seconds", "step_bytes")}
    return {name: found[name] for name in _MEASURED} | step


def steps(log: Path, runs: Sequence[Path]) -> dict[str, Any]:
    """Of each run the seconds of its steps' median, and the last step's metrics."""
    found: dict[str, Any] = {}
    for run in runs:
        history = read_object(run / "trainer_state.json")["log_history"]
        logged = [entry for entry in history if "step_time" in entry]
        last = {name: logged[-1].get(name) for name in ("reward", "kl", "grad_norm", "shared_prefix/packed")}
        seconds = statistics.median(entry["step_time"] for entry in logged)
        found[run.name] = {"steps": len(logged), "seconds_per_step": round(seconds, 2), **last}
    return found


def resumed(log: Path, run: Path) -> dict[str, Any]:
    """The metrics of a run, and where its second start went on from."""
    manifest = read_object(run / "manifest.json")
    return steps(log, [run]) | {name: manifest[name] for name in ("status", "resumed_from")}


def answers_in_common(one: Path, other: Path) -> dict[str, Any]:
    """How many rows two evaluations answered alike."""
    ours, theirs = (
        {row["id"]: row["model_output"] for _, row in read_json_lines(folder / "detection_in.jsonl")}
        for folder in (one, other)
    )
    same = sum(theirs[row] == answer for row, answer in ours.items())
    return {"rows": len(ours), "same answers": same}
