"""The completions that a run writes (``--log_completions true``), read back as the groups they came in."""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from curr_reft.errors import InputError
from curr_reft.files.manifest import read_manifest
from curr_reft.stages import STAGES

logger = logging.getLogger(__name__)

FOLDER = "completions"
ROW_COLUMNS = ("id", "task", "stage", "solution", "image_path")
"""What the trainer writes of a completion's row, beside TRL's own columns."""
SPLIT_COLUMN = "split"
"""`train` or `val`: an evaluation's completions take the place of its step's."""
_TRL_COLUMNS = ("step", "prompt", "completion", "advantage")
_FILE = re.compile(r"completions_(\d+)\.parquet")


@dataclass(frozen=True)
class Completion:
    """A completion with what it earned."""

    text: str
    rewards: Mapping[str, float | None]
    """By the reward's name; `None` where it left the completion to the others."""
    total: float
    """Their weighted sum."""
    advantage: float
    extra: Mapping[str, str]
    """What rewards of the user's own logged of it, by column."""


@dataclass(frozen=True)
class Group:
    """The completions of one prompt."""

    id: str
    task: str
    stage: str
    solution: str
    image_path: str
    split: str
    prompt: str
    completions: list[Completion]

    @property
    def mean(self) -> float:
        """The mean reward."""
        return sum(each.total for each in self.completions) / len(self.completions)

    @property
    def has_signal(self) -> bool:
        """Whether its rewards differ, by more than their sums' rounding, so that it moves weights."""
        return len({round(each.total, 6) for each in self.completions}) > 1


def read_run(run: Path) -> dict[str, Any]:
    """The manifest of a stage's run.

    Raises:
        InputError: when the folder holds none.
    """
    record = read_manifest(run)
    if record is None or record.get("stage") not in STAGES:
        raise InputError(f"{run}: not the run of a stage (no manifest.json that names one)")
    return record


def read_groups(run: Path, record: Mapping[str, Any], step: int | None = None) -> tuple[int, list[Group]]:
    """The step that is read, and its groups in the order of the file.

    Args:
        record: The run's manifest.
        step: An optimizer step that was logged; without one, the newest that is written to its end.

    Raises:
        InputError: when there are none.
    """
    files = {int(match[1]): path for path in run.glob(f"{FOLDER}/*") if (match := _FILE.fullmatch(path.name))}
    if not files:
        raise InputError(
            f"{run}: no completions yet; a run writes them with --log_completions true as it logs"
        )
    if step is not None and step not in files:
        nearest = min(files, key=lambda each: (abs(each - step), each))
        raise InputError(
            f"--step {step}: {run} has no completions of it, of {len(files)} steps {nearest} is nearest"
        )
    for found in sorted(files, reverse=True) if step is None else [step]:
        try:
            table = pyarrow.parquet.read_table(files[found])
        except (pyarrow.ArrowException, OSError) as error:
            # TRL writes in place: what is being written, or was when the run was killed, has no end.
            reason = f"{files[found]}: not written to the end ({str(error).splitlines()[0]})"
            if step is not None:
                raise InputError(f"{reason}; choose another --step") from error
            logger.warning("%s; an earlier step is shown", reason)
            continue
        return found, _groups(table, files[found], record["config"])
    raise InputError(f"{run}: none of its {len(files)} files of completions is written to the end")


def _groups(table: pyarrow.Table, path: Path, config: Mapping[str, Any]) -> list[Group]:
    if missing := {*_TRL_COLUMNS, *ROW_COLUMNS, SPLIT_COLUMN} - set(table.column_names):
        raise InputError(
            f"{path}: has no column {min(missing)}; it was written by another program or an earlier version"
        )
    rows = table.to_pylist()
    # An evaluation writes over what was left of its step's own.
    rows = [row for row in rows if row[SPLIT_COLUMN] == "val"] or rows
    behind = table.column_names.index("completion") + 1
    rewards = table.column_names[behind : behind + len(config["reward_funcs"])]
    weights = dict(zip(rewards, config.get("reward_weights") or [1.0] * len(rewards), strict=True))
    generations = config["num_generations"]
    sizes = {"train": generations, "val": config.get("num_generations_eval") or generations}
    return [
        Group(
            **{column: str(members[0][column]) for column in (*ROW_COLUMNS, SPLIT_COLUMN)},
            prompt=_text(members[0]["prompt"]),
            completions=[_completion(row, weights) for row in members],
        )
        for (_, split), same in groupby(rows, key=lambda row: (row["id"], row[SPLIT_COLUMN]))
        for members in _chunks(same, sizes.get(split, generations))
    ]


def _chunks(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Groups of a row that was drawn twice in a row."""
    kept = list(rows)
    for start in range(0, len(kept), size):
        yield kept[start : start + size]


def _completion(row: Mapping[str, Any], weights: Mapping[str, float]) -> Completion:
    rewards = {name: None if _is_none(row[name]) else row[name] for name in weights}
    others = row.keys() - {*_TRL_COLUMNS, *ROW_COLUMNS, SPLIT_COLUMN, *weights}
    return Completion(
        text=_text(row["completion"]),
        rewards=rewards,
        total=sum(weights[name] * value for name, value in rewards.items() if value is not None),
        advantage=row["advantage"],
        extra={name: str(row[name]) for name in sorted(others)},
    )


def _is_none(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _text(turns: list[dict[str, Any]]) -> str:
    return "".join(str(turn["content"]) for turn in turns)
