"""Evaluation suites: which rows, of which task, from which domain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.yaml import read_mapping
from curr_reft.tasks.registry import known_tasks, scorings
from curr_reft.tasks.task import Scoring

# It names the file of the answers.
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_NEEDED, _OPTIONAL = {"task", "domain", "json_path"}, {"scoring"}


@dataclass(frozen=True)
class Suite:
    """One file of held-out open rows, and the rules it is scored by."""

    name: str
    task: str
    domain: str
    json_path: str
    scoring: str
    """The name of one of the task's scorings."""

    @property
    def rules(self) -> Scoring:
        """How its rows are scored."""
        return scorings()[self.scoring][1]


def load_suites(config: Path) -> list[Suite]:
    """Read a suites YAML: ``suites: {NAME: {task, domain, json_path[, scoring]}}``, domain `in` or `out`.

    Without `scoring` the task's usual one is taken.

    Raises:
        InputError: for a file that cannot be read, a missing or unknown key, or an unknown value.
    """
    suites_by_name = read_mapping(config).get("suites")
    if not isinstance(suites_by_name, dict) or not suites_by_name:
        raise InputError(f"{config}: must hold `suites:` with a mapping of suite names")
    return [_suite(f"{config}: suite {name}", name, fields) for name, fields in suites_by_name.items()]


def _suite(where: str, name: Any, fields: Any) -> Suite:
    if not isinstance(fields, dict) or not _NEEDED <= set(fields) <= _NEEDED | _OPTIONAL:
        needed = f"{', '.join(sorted(_NEEDED))}, and may have {', '.join(sorted(_OPTIONAL))}"
        raise InputError(f"{where}: needs the keys {needed}")
    tasks = known_tasks()
    if fields["task"] not in tasks or fields["domain"] not in ("in", "out"):
        raise InputError(f"{where}: task is one of {', '.join(tasks)}, domain `in` or `out`")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(fields["json_path"], str):
        raise InputError(f"{where}: name and json_path are texts, the name fit for a file")
    names = [scoring.name for scoring in tasks[fields["task"]].scorings]
    if fields.setdefault("scoring", names[0]) not in names:
        raise InputError(f"{where}: scoring of {fields['task']} is one of {', '.join(names)}")
    return Suite(name, **fields)


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
