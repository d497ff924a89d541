"""How far a curriculum is: ``python -m curr_reft.curriculum status DIR [--watch]``."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from rich.live import Live

from curr_reft.curriculum.records import (
    FINISHED,
    RUNNING,
    WAITING,
    Done,
    is_at_work,
    read_state,
    time_taken,
)
from curr_reft.curriculum.steps import RECORDS, trains
from curr_reft.errors import InputError
from curr_reft.files.cli import CommandParser
from curr_reft.files.manifest import read_manifest
from curr_reft.files.tables import Table, console, to_rich

# Beside trainer_state.json these grow with every line that is logged: ours, and that of ms-swift.
_LOGS = ("log.jsonl", "logging.jsonl")
_ACCURACY = "accuracy/"
_COLUMNS = ("step", "state", "steps", "reward", "accuracy", "no signal", "KL", "loss", "time")
_TIMED = 50


def show(argv: Sequence[str]) -> None:
    """Print the table of steps; with ``--watch`` renew it until Ctrl-C.

    Raises:
        InputError: when there is no curriculum in the folder.
    """
    parser = CommandParser(
        prog="python -m curr_reft.curriculum status", description="How far a curriculum is."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="its output_dir")
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=5.0,
        metavar="SECONDS",
        help="renew it, every 5 seconds if not said",
    )
    arguments = parser.parse_args(argv)
    terminal = console(160)
    if arguments.watch is None:
        terminal.print(to_rich(status(arguments.folder)))
        return
    if arguments.watch <= 0:
        raise InputError(f"--watch {arguments.watch:g}: expected seconds above 0")
    with Live(to_rich(status(arguments.folder)), console=terminal, auto_refresh=False) as live:
        while True:
            time.sleep(arguments.watch)
            live.update(to_rich(status(arguments.folder)), refresh=True)


def status(output_dir: Path) -> Table:
    """The table of a curriculum's steps, whether it is at work, stopped or dead.

    Raises:
        InputError: when the folder holds no curriculum.
    """
    records = output_dir / RECORDS
    whole = read_manifest(records)
    if whole is None:
        raise InputError(f"{output_dir}: holds no curriculum ({RECORDS}/manifest.json)")
    at_work = is_at_work(records)
    rows = [_row(output_dir, step["name"], step["run"], at_work) for step in whole["config"]["steps"]]
    state = whole["status"] if at_work or whole["status"] != RUNNING else "killed"
    reason = f": {whole['reason']}" if "reason" in whole else ""
    return Table(f"{output_dir}: {state}{reason}", _COLUMNS, rows, names=2)


def _row(output_dir: Path, name: str, run: str, at_work: bool) -> list[str]:
    how_far = read_state(output_dir, name, run, at_work)
    progress = read_progress(output_dir / name) if trains(run) and how_far.state != WAITING else None
    shown = progress.cells() if progress else [""] * (len(_COLUMNS) - 3)
    return [name, how_far.state, *shown, _time(how_far, progress)]


def _time(how_far: Done, progress: "Progress | None") -> str:
    if how_far.state == FINISHED:
        return f"took {time_taken(how_far)}"
    if how_far.state == RUNNING and progress and progress.left is not None:
        return f"{progress.left} left"
    if how_far.state == RUNNING and how_far.record:
        since = datetime.now(UTC) - datetime.fromisoformat(how_far.record["started"])
        return f"for {timedelta(seconds=round(since.total_seconds()))}"
    return ""


@dataclass(frozen=True)
class Progress:
    """The last that a training run logged."""

    step: int
    max_steps: int
    metrics: dict[str, Any]
    """Each with the last value that was logged."""
    left: timedelta | None
    """Until its last step, at the median time of the newest ones; `None` when none was timed."""

    def cells(self) -> list[str]:
        """Steps, reward, accuracy by task, groups without signal, KL, loss."""
        accuracy = [
            f"{name.removeprefix(_ACCURACY)} {value:.3g}"
            for name, value in sorted(self.metrics.items())
            if name.startswith(_ACCURACY)
        ]
        # Of dynamic sampling, those that were drawn; the ones learned from have a signal.
        kept = self.metrics.get("dynamic_sampling/kept")
        return [
            f"{self.step}/{self.max_steps}",
            self._number("reward"),
            ", ".join(accuracy),
            self._number("frac_reward_zero_std") if kept is None else f"{1 - kept:.3g}",
            self._number("kl"),
            self._number("loss"),
        ]

    def _number(self, name: str) -> str:
        value = self.metrics.get(name)
        return "" if value is None else f"{value:.3g}"


def read_progress(run: Path) -> Progress | None:
    """How far a run is by its log, `None` when it has logged nothing yet."""
    entries = [entry for name in _LOGS for entry in _entries(run / name)]
    if not entries:
        return None
    metrics = {name: value for entry in entries for name, value in entry.items()}
    times = [entry["step_time"] for entry in entries if "step_time" in entry][-_TIMED:]
    step, max_steps = _steps(entries[-1])
    left = timedelta(seconds=round((max_steps - step) * median(times))) if times else None
    return Progress(step, max_steps, metrics, left)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        # The last line may be half written.
        except ValueError:
            continue
        if isinstance(entry, dict) and _steps(entry) is not None:
            yield entry


def _steps(entry: dict[str, Any]) -> tuple[int, int] | None:
    """Optimizer steps done and to be done; ms-swift writes them as ``5/40``."""
    if "max_steps" in entry:
        return entry["step"], entry["max_steps"]
    done, slash, total = str(entry.get("global_step/max_steps", "")).partition("/")
    return (int(done), int(total)) if slash else None
