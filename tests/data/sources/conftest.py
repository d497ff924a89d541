"""Shared by the builders' tests: fixture files, changed copies, and what holds for every row."""

import copy
import json
import pickle
from pathlib import Path

import pytest

from curr_reft.data.rows import BadRecord, write_rows
from curr_reft.data.schema import read_examples
from curr_reft.errors import InputError
from curr_reft.rewards import paper

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def fixture_json():
    """Reads a fixture anew: the test may change it."""
    return lambda name: json.loads((FIXTURES / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def refer_files(tmp_path_factory):
    """Writes a refs pickle and an `instances.json`, and returns their paths."""
    folder = tmp_path_factory.mktemp("refer")

    def write(refs, instances, protocol: int = 2) -> tuple[Path, Path]:
        paths = folder / "refs(unc).p", folder / "instances.json"
        paths[0].write_bytes(pickle.dumps(refs, protocol))
        paths[1].write_text(json.dumps(instances), encoding="utf-8")
        return paths

    return write


@pytest.fixture(scope="session")
def changed():
    """A deep copy of a document in which the value at a path of keys is another one, or `DELETE`d."""

    def change(document, path: tuple, value):
        document = copy.deepcopy(document)
        target = document
        for key in path[:-1]:
            target = target[key]
        if value is change.DELETE:
            del target[path[-1]]
        else:
            target[path[-1]] = value
        return document

    change.DELETE = object()
    return change


@pytest.fixture(scope="session")
def reasons():
    """The reasons of the bad records among the outcomes."""
    return lambda outcomes: [outcome.reason for outcome in outcomes if isinstance(outcome, BadRecord)]


@pytest.fixture(scope="session")
def check_written(tmp_path_factory):
    """Calls a builder and writes its rows without the bad ones: it must stop with one line, or write rows
    that the schema and the rewards read."""
    folder = tmp_path_factory.mktemp("written")

    def check(builder, *arguments) -> None:
        path = folder / "rows.jsonl"
        path.unlink(missing_ok=True)
        message = ""
        try:
            write_rows(path, builder(*arguments), drop_bad_rows=True)
        except InputError as error:
            message = str(error)
        assert "\n" not in message
        assert path.exists() == (not message)
        if message:
            return
        for example in read_examples(path, folder):
            paper.check_gold("open", example.task, example.solution)
            assert example.image.is_relative_to(folder / "images")
            assert ".." not in example.image.parts

    return check
