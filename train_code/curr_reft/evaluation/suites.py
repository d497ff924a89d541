"""Evaluation suites: which rows, of which task, from which domain."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from curr_reft.errors import InputError
from curr_reft.stages import TASKS

_FIELDS = {"task", "domain", "json_path"}


@dataclass(frozen=True)
class Suite:
    """One file of held-out open rows."""

    name: str
    task: str
    domain: str
    json_path: str


def load_suites(config: Path) -> list[Suite]:
    """Read a suites YAML: ``suites: {NAME: {task, domain, json_path}}``, domain `in` or `out`.

    Raises:
        InputError: for a file that cannot be read, a missing or unknown key, an unknown task or domain.
    """
    try:
        contents = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{config}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{config}: not YAML ({' '.join(str(error).split())})") from error
    if (
        not isinstance(contents, dict)
        or not isinstance(contents.get("suites"), dict)
        or not contents["suites"]
    ):
        raise InputError(f"{config}: must hold `suites:` with a mapping of suite names")
    suites = []
    for name, fields in contents["suites"].items():
        if not isinstance(fields, dict) or set(fields) != _FIELDS:
            raise InputError(f"{config}: suite {name}: needs exactly the keys {', '.join(sorted(_FIELDS))}")
        if fields["task"] not in TASKS or fields["domain"] not in ("in", "out"):
            raise InputError(
                f"{config}: suite {name}: task is one of {', '.join(TASKS)}, domain `in` or `out`"
            )
        suites.append(Suite(name, **fields))
    return suites
