"""Evaluation suites: which rows, of which task, from which domain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curr_reft.errors import InputError
from curr_reft.files.yaml import read_mapping
from curr_reft.stages import TASKS

SCORINGS = ("detection_in", "classify_in", "math_in", "classify_out", "math_out", "refgta")
"""The rules a suite can be scored by (`curr_reft.evaluation.rules`)."""
# It names the file of the answers.
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_FIELDS = {"task", "domain", "json_path", "scoring"}


@dataclass(frozen=True)
class Suite:
    """One file of held-out open rows, and the rules it is scored by."""

    name: str
    task: str
    domain: str
    json_path: str
    scoring: str
    """One of `SCORINGS`."""


def task_of(suite: str) -> str:
    """The task of a suite's rules."""
    return "detection" if suite == "refgta" else suite.partition("_")[0]


def load_suites(config: Path) -> list[Suite]:
    """Read a suites YAML: ``suites: {NAME: {task, domain, json_path, scoring}}``, domain `in` or `out`.

    Raises:
        InputError: for a file that cannot be read, a missing or unknown key, or an unknown value.
    """
    suites_by_name = read_mapping(config).get("suites")
    if not isinstance(suites_by_name, dict) or not suites_by_name:
        raise InputError(f"{config}: must hold `suites:` with a mapping of suite names")
    suites = []
    for name, fields in suites_by_name.items():
        if not isinstance(fields, dict) or set(fields) != _FIELDS:
            raise InputError(f"{config}: suite {name}: needs exactly the keys {', '.join(sorted(_FIELDS))}")
        if fields["task"] not in TASKS or fields["domain"] not in ("in", "out"):
            raise InputError(
                f"{config}: suite {name}: task is one of {', '.join(TASKS)}, domain `in` or `out`"
            )
        if fields["scoring"] not in SCORINGS:
            raise InputError(f"{config}: suite {name}: scoring is one of {', '.join(SCORINGS)}")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(fields["json_path"], str):
            raise InputError(f"{config}: suite {name}: name and json_path are texts, the name fit for a file")
        if task_of(fields["scoring"]) != fields["task"]:
            raise InputError(
                f"{config}: suite {name}: scoring {fields['scoring']} is not for {fields['task']}"
            )
        suites.append(Suite(name, **fields))
    return suites


def select_suites(suites: Sequence[Suite], names: Sequence[str]) -> list[Suite]:
    """The suites that a selection names, in the order of the configuration.

    A name is a suite's, a task's or a domain's (`in`, `out`), a task and domain as in `detection_out`, or
    `all`; one text may hold several between commas.

    Raises:
        InputError: for a name that selects none.
    """
    chosen = set()
    for name in ",".join(names).split(","):
        found = {suite.name for suite in suites if name in _names_of(suite)}
        if not found:
            known = dict.fromkeys(known for suite in suites for known in _names_of(suite))
            raise InputError(f"--suites {name}: no such suite; there are {', '.join(known)}")
        chosen |= found
    return [suite for suite in suites if suite.name in chosen]


def _names_of(suite: Suite) -> tuple[str, ...]:
    return (suite.name, f"{suite.task}_{suite.domain}", suite.task, suite.domain, "all")
