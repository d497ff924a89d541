"""The file of answers: each is known by what it answers, and none is asked for twice."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from curr_reft.data.prompts import Request
from curr_reft.evaluation.answers import Answers
from curr_reft.evaluation.backends.generation import Completion
from curr_reft.processes import ProcessGroup


class Echo:
    """A backend that answers with the prompt, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, requests: Sequence[Request], processes: ProcessGroup, save) -> None:
        self.asked += [request.id for request in requests]
        save([(request, Completion(request.prompt, 1, False)) for request in requests])


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "answers.jsonl"


def requests(*pairs: tuple[str, str]) -> list[Request]:
    return [Request(id=name, prompt=prompt) for name, prompt in pairs]


def collect(
    path: Path, wanted: list[Request], spare: Sequence[Request] = (), **settings: object
) -> list[str]:
    """The ids that are asked for; each request has its answer afterwards."""
    backend = Echo()
    answers = Answers(path, wanted, "model", settings, spare)
    answers.collect(lambda: backend, "Asking", ProcessGroup())
    found = answers.read()
    assert {each.id: found[each.id]["model_output"] for each in wanted} == {
        each.id: each.prompt for each in wanted
    }
    return backend.asked


def test_answers_hold_wherever_their_requests_stand_now(path):
    assert collect(path, requests(("a:1", "x"), ("a:2", "y"))) == ["a:1", "a:2"]
    assert collect(path, requests(("b:1", "y"), ("b:2", "z"), ("b:3", "x"))) == ["b:2"]


def test_equal_requests_have_an_answer_each(path):
    twice = requests(("a:1", "x"), ("a:2", "x"))
    assert collect(path, twice[:1]) == ["a:1"]
    assert collect(path, twice) == ["a:2"]
    assert collect(path, twice) == []
    assert collect(path, twice[1:]) == []
    # The answer that nobody asked for any more was set aside.
    assert [file.name for file in path.parent.iterdir() if file != path] == ["answers.jsonl.set-aside-1"]


def test_answers_to_spare_requests_stay_and_are_not_asked_for(path):
    one, two, three = requests(("a:1", "x"), ("a:2", "y"), ("a:3", "z"))
    collect(path, [one, two])
    before = path.read_bytes()
    assert collect(path, [one], spare=[two, three]) == []
    assert path.read_bytes() == before


def test_answers_of_other_settings_are_set_aside(path):
    collect(path, requests(("a:1", "x")), temperature=0)
    assert collect(path, requests(("a:1", "x")), temperature=1) == ["a:1"]
    (aside,) = path.parent.glob("*.set-aside-1")
    assert json.loads(aside.read_text())["model_output"] == "x"


@pytest.mark.parametrize("change", [{"digest": ["x"]}, {"truncated": "no"}, {"model_output": None}])
def test_a_row_of_another_form_is_asked_for_again(path, change):
    wanted = requests(("a:1", "x"), ("a:2", "y"))
    collect(path, wanted)
    first, second = path.read_text().splitlines()
    path.write_text(f"{json.dumps({**json.loads(first), **change})}\n{second}\n")
    assert collect(path, wanted) == ["a:1"]
