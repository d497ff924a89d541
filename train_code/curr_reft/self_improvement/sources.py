"""Which queries the model is asked for its own answers, and how many of each source's are wanted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.yaml import read_mapping
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import known_tasks

DOMAINS = ("math", "science", "general")
MODALITIES = ("image", "text")
# It begins the ids of its queries.
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_NEEDED, _OPTIONAL = {"domain", "modality", "json_path", "quota"}, {"stage", "task"}


@dataclass(frozen=True)
class Source:
    """A file of queries."""

    name: str
    domain: str
    """One of `DOMAINS`, for the statistics."""
    modality: str
    """`image`: each query has an image; `text`: none has."""
    json_path: str
    """Below the data root."""
    quota: int
    """How many examples the selection takes at most."""
    stage: str = "open"
    """Whose prompt the query is put into, and whose rule reads its gold."""
    task: str | None = None
    """Which of the stage's rules reads the gold; `None` for queries whose gold no rule can read."""


@dataclass(frozen=True)
class Composition:
    """What a set of examples is to be made of."""

    threshold: float
    """An example's total score must exceed it."""
    sources: tuple[Source, ...]


def load_composition(config: Path) -> Composition:
    """Read ``threshold`` and ``sources: {NAME: {domain, modality, json_path, quota[, stage, task]}}``.

    Raises:
        InputError: for a file that cannot be read, a missing or unknown key, or an unknown value.
    """
    document = read_mapping(config)
    if set(document) != {"threshold", "sources"}:
        raise InputError(f"{config}: needs exactly the keys threshold, sources")
    threshold, by_name = document["threshold"], document["sources"]
    if not _is_number(threshold) or not 0 <= threshold <= 100:
        raise InputError(f"{config}: threshold: expected a number from 0 to 100, found {threshold!r}")
    if not isinstance(by_name, dict) or not by_name:
        raise InputError(f"{config}: sources: expected a mapping of source names")
    return Composition(threshold, tuple(_source(config, name, fields) for name, fields in by_name.items()))


def _source(config: Path, name: Any, fields: Any) -> Source:
    where = f"{config}: source {name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"{where}: a name is letters, digits, dots, hyphens and underscores")
    if not isinstance(fields, dict) or not _NEEDED <= fields.keys() <= _NEEDED | _OPTIONAL:
        keys = f"{', '.join(sorted(_NEEDED))}, and may have {', '.join(sorted(_OPTIONAL))}"
        raise InputError(f"{where}: needs the keys {keys}")
    known: dict[str, Sequence[str]] = {
        "domain": DOMAINS,
        "modality": MODALITIES,
        "stage": tuple(STAGES),
        "task": tuple(known_tasks()),
    }
    for key, values in known.items():
        if key in fields and fields[key] not in values:
            raise InputError(f"{where}: {key} is one of {', '.join(values)}")
    if not isinstance(fields["json_path"], str) or Path(fields["json_path"]).is_absolute():
        raise InputError(f"{where}: json_path is a path below the data root")
    if not isinstance(fields["quota"], int) or isinstance(fields["quota"], bool) or fields["quota"] < 1:
        raise InputError(f"{where}: quota: expected a whole number from 1, found {fields['quota']!r}")
    task = known_tasks().get(fields.get("task"))
    if fields["modality"] == "text" and task is not None and task.needs_image:
        raise InputError(f"{where}: task {task.name} is about images, and modality text has none")
    return Source(name, **fields)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
