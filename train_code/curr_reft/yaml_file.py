"""The one reader of YAML files."""

from pathlib import Path
from typing import Any

import yaml

from curr_reft.errors import InputError


def read_mapping(path: Path, label: str = "") -> dict[Any, Any]:
    """The mapping a YAML file holds; `label`, such as a flag's name, goes before the path in messages.

    Raises:
        InputError: for a file that cannot be read, is not YAML or holds no mapping.
    """
    where = f"{label} {path}".strip()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text, so not a YAML file") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: broken YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InputError(f"{where}: must be a mapping of keys to values")
    return document
