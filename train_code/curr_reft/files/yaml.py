"""The one reader of YAML files."""

from pathlib import Path
from typing import Any

import yaml

from curr_reft.errors import InputError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which would let the last of two equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, label: str = "") -> dict[Any, Any]:
    """The mapping a YAML file holds; `label`, such as a flag's name, goes before the path in messages.

    Raises:
        InputError: for a file that cannot be read, is not YAML, holds no mapping or a key twice.
    """
    where = f"{label} {path}".strip()
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # a SafeLoader
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text, so not a YAML file") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: broken YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InputError(f"{where}: must be a mapping of keys to values")
    return document
