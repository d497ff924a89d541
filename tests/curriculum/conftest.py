"""Curricula written for a test."""

from pathlib import Path

import pytest
import yaml

from curr_reft.curriculum.steps import Curriculum, load_curriculum


@pytest.fixture
def written(tmp_path, tiny_base, world):
    """Writes a curriculum of the tiny model's configurations with other steps or keys; returns its path."""

    def write(steps: list, **keys) -> Path:
        document = {
            "model": str(tiny_base),
            "configs": "configs/tiny",
            "output_dir": str(tmp_path / "out"),
            "data_root": str(world),
            "query_root": str(world),
            "processes": 1,
            "steps": steps,
            **keys,
        }
        path = tmp_path / "curriculum.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write


@pytest.fixture
def loaded(written):
    """The curriculum of some steps."""

    def load(steps: list, flags: dict | None = None, **keys) -> Curriculum:
        return load_curriculum(written(steps, **keys), {}, flags or {})

    return load
