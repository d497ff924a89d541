"""Packages of the library import those below them, never those above, also late and inside functions."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "train_code/curr_reft"
LAYERS = [
    *(["lifetime"], ["errors"], ["boxes", "stages", "processes"]),
    *(["files"], ["answers"], ["rewards"], ["data"], ["models"], ["training"], ["evaluation"]),
    *(["sft"], ["self_improvement"]),
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """The packages and root modules of the library that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = (
                [node.module]
                if node.module != "curr_reft"
                else [f"curr_reft.{each.name}" for each in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("curr_reft.")}
    return found


@pytest.mark.parametrize("package", LEVEL)
def test_imports_point_downwards(package):
    paths = (
        [LIBRARY / f"{package}.py"]
        if (LIBRARY / f"{package}.py").is_file()
        else (LIBRARY / package).rglob("*.py")
    )
    upwards = [
        f"{path.relative_to(LIBRARY)} imports {other}"
        for path in paths
        for other in imported(path) - {package}
        if LEVEL[other] >= LEVEL[package]
    ]
    assert not upwards


def test_every_module_has_its_layer():
    here = {
        path.stem for path in LIBRARY.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert here - {"__init__"} == LEVEL.keys()
