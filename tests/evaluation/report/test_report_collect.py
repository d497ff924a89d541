"""What lies in folders is found, named and checked."""

import json
import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curr_reft.errors import InputError
from curr_reft.evaluation.report.collect import Run, collect
from curr_reft.evaluation.report.documents import (
    SuiteScore,
    read_benchmarks,
    read_evaluation,
    read_pass_at_k,
    read_training_run,
)
from curr_reft.evaluation.report.page import checkpoint_series


def names(found):
    return [each.name for each in found]


def findings(*arguments):
    return collect([Run.parse(str(argument)) for argument in arguments])


def test_everything_below_a_folder_is_found_and_named_by_its_path(
    write_evaluation, write_training, write_pass_at_k, write_benchmarks, tmp_path
):
    for step in (1000, 200, 20):
        write_evaluation(f"run/scores/open/checkpoint-{step}", step=step, math_in=0.5)
    write_training("run/stage1_judge")
    write_pass_at_k("run/deep/er/choice_pass_at_k.json", "choice")
    write_benchmarks("run/deep", AI2D=80)
    found = findings(tmp_path / "run")
    checkpoints = [f"scores/open/checkpoint-{step}" for step in (20, 200, 1000)]
    assert names(found.evaluations) == checkpoints
    assert [each.step for each in found.evaluations] == [20, 200, 1000]
    assert names(found.training) == ["stage1_judge"]
    assert (found.training[0].stage, len(found.training[0].log)) == ("judge", 101)
    assert names(found.pass_at_k) == ["deep/er/choice"]
    assert names(found.benchmarks) == ["deep"]
    ((title, series),) = checkpoint_series(found.evaluations)
    assert (title, names(series)) == ("scores/open", checkpoints)


def test_names_that_are_given_come_first_and_equal_ones_are_told_apart(write_evaluation, tmp_path):
    for folder in ("a/open", "b/open", "c"):
        write_evaluation(folder, math_in=0.5)
    a, b, c = (tmp_path / name for name in "abc")
    assert names(findings(f"ours={c}", f"theirs={a}").evaluations) == ["ours", "theirs/open"]
    assert names(findings(c).evaluations) == ["c"]
    assert names(findings(a, b).evaluations) == [str(a / "open"), str(b / "open")]
    assert names(findings(f"x={c}", f"x={a / 'open'}").evaluations) == ["x", "x (2)"]
    # What two folders hold is reported once.
    assert names(findings(f"base={c}", tmp_path).evaluations) == ["base", "a/open", "b/open"]


def test_a_folder_may_hold_an_equals_sign(write_evaluation, tmp_path):
    write_evaluation("lr=1e-6", math_in=0.5)
    assert names(findings(tmp_path / "lr=1e-6").evaluations) == ["lr=1e-6"]
    assert names(findings(f"a={tmp_path / 'lr=1e-6'}").evaluations) == ["a"]


def test_a_run_that_trains_on_is_read_from_its_last_checkpoint(write_training, tmp_path):
    for step in (100, 1000, 20):
        write_training(f"run/checkpoint-{step}", steps=step)
    (run,) = findings(tmp_path / "run").training
    assert (run.name, max(entry["step"] for entry in run.log), run.stage) == ("run", 1000, None)
    write_training("run", steps=1500)
    (run,) = findings(tmp_path / "run").training
    assert (max(entry["step"] for entry in run.log), run.stage) == (1500, "judge")


def test_a_diverged_run_has_gaps(write_training, tmp_path):
    state = write_training("run") / "trainer_state.json"
    log = [{"step": 1, "reward": 1.0, "kl": 0.1}, {"step": 2, "reward": float("nan"), "kl": 1e400}]
    state.write_text(json.dumps({"log_history": log}))
    (run,) = findings(tmp_path / "run").training
    assert run.curve("reward") == ([1], [1.0])
    assert run.curve("kl") == ([1], [0.1])


def test_set_aside_files_links_and_closed_folders_are_left_alone(write_evaluation, tmp_path):
    folder = write_evaluation("run/open", math_in=0.5)
    write_evaluation("run/old.set-aside-1", math_in=0.5)
    write_evaluation("elsewhere", math_in=0.5)
    (folder / "scores.json.set-aside-1").write_text("broken")
    (folder / ".judge_pass_at_k.json.77.part").write_text("half")
    (tmp_path / "run/link").symlink_to(tmp_path / "elsewhere")
    closed = tmp_path / "run/closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        assert names(findings(tmp_path / "run").evaluations) == ["open"]
    finally:
        closed.chmod(0o700)


def test_the_checks_name_file_and_field(write_evaluation, write_training, write_pass_at_k, tmp_path, fails):
    scores = write_evaluation("e", math_in=0.5) / "scores.json"
    state = write_training("t") / "trainer_state.json"
    curve = write_pass_at_k("p/judge_pass_at_k.json")
    whole_curve = curve.read_text()
    for path, change, message in [
        (scores, "{", "broken JSON: "),
        (scores, "[" * 100_000, "broken JSON: "),
        (scores, "[1]", "expected a JSON object, found list"),
        (scores, '{"accuracy": 1}', "scores: Field required"),
        (scores, '{"scores": {}}', "scores: Dictionary should have at least 1 item"),
        (scores, '{"scores": {"a": 1}}', "scores: a: Input should be a valid dictionary"),
        (scores, '{"scores": {"../x": {}}}', "scores: ../x: [key]: String should match pattern"),
        (scores, {"accuracy": 52.5}, "math_in: accuracy: Input should be less than or eq"),
        (scores, {"accuracy": float("nan")}, "math_in: accuracy: Field required"),
        (scores, {"n": "many"}, "math_in: n: Input should be a valid integer, found 'many'"),
        (scores, {"n": True}, "math_in: n: Input should be a valid integer, found True"),
        (scores, {"n": 0}, "math_in: n: Input should be greater than or equal to 1"),
        (scores, {"n": 10**400}, "math_in: n: Input should be less than or equal to 9007"),
        (scores, {"task": "a dance"}, "math_in: task: String should match pattern"),
        (scores, {"incidents": {"a": "b"}}, "incidents: a: Input should be a valid integer"),
        (state, '{"log_history": 3}', "log_history: Input should be a valid list"),
        (state, '{"log_history": [{"loss": 1}]}', "log_history: 0: Value error, expected the number"),
        (state.with_name("manifest.json"), "{}", "status: Field required"),
        (state.with_name("manifest.json"), "[" * 100_000, "broken JSON: "),
        (curve, '{"k": 3, "model": "m", "task_type": "open"}', "k: Input should be a valid list"),
        (curve, whole_curve.replace('"pass_at_k": 0.5', '"pass_at_k": 2'), "0: pass_at_k: Input"),
        (curve, whole_curve.replace('"low"', '"lower"', 1), "k: 0: low: Field required"),
        (curve, whole_curve.replace('"judge", "model"', '"x", "model"'), "task_type: Input should be"),
    ]:
        whole = path.read_text()
        if isinstance(change, dict):
            record = json.loads(whole)
            record["scores"]["math_in"].update(change)
            change = json.dumps(record)
        path.write_text(change)
        line = fails(tmp_path)
        assert line.startswith(f"error: {path}: ")
        assert message in line
        path.write_text(whole)


NAMES = [*SuiteScore.model_fields, "k", "pass_at_k"]
FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, "in"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("read", "fields"),
    [
        (read_evaluation, ["scores", "step", "architecture", "data_root"]),
        (lambda name, path: read_training_run(name, path, path.parent), ["log_history"]),
        (read_pass_at_k, ["k", "model", "task_type", "problems", "num_samples", "judge"]),
        (read_benchmarks, ["model", "results", "harness", "paper_differs"]),
    ],
    ids=["scores", "training", "pass_at_k", "benchmarks"],
)
@settings(max_examples=50)
@given(data=st.data())
def test_any_json_is_read_or_refused(read, fields, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "document.json"
    path.write_text(json.dumps(data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(fields, FIELDS)))))
    with suppress(InputError):
        read("name", path)


def test_nothing_to_report_is_an_error(tmp_path, fails, write_evaluation):
    (tmp_path / "empty").mkdir()
    assert "holds nothing to report: no scores.json (run eval/evaluate.py)" in fails(tmp_path / "empty")
    assert "nowhere: no such folder" in fails(tmp_path / "nowhere")
    assert "a=nowhere: no such folder" in fails("a=nowhere")
    # A good folder does not hide an empty one.
    assert "holds nothing to report" in fails(write_evaluation("good", math_in=0.5), tmp_path / "empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(write_evaluation, fails):
    folder = write_evaluation("e", math_in=0.5)
    (folder / "scores.json").chmod(0)
    assert "scores.json: cannot be read (Permission denied)" in fails(folder)
