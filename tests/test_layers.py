"""Packages of the library import those below them alone, also late and inside functions."""

from importlinter import cli


def test_imports_point_downwards(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    assert cli.lint_imports(config_filename="pyproject.toml", no_cache=True) == 0, capsys.readouterr().out
