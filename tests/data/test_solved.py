"""Rows that the starting model always or never gets right, by its judged candidates."""

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.data.schema import read_examples
from curr_reft.data.solved import find_solved
from curr_reft.errors import InputError
from curr_reft.self_improvement import candidates, judge
from curr_reft.training.run import prepare, run_stage

ROWS = "train/judge/judge_math_train.jsonl"


def scores(answers: dict[str, list], source: str = "a") -> str:
    """Lines for the answers' accuracies by row."""
    return "".join(
        json.dumps({"id": f"{source}/{row}#{number}", "accuracy": accuracy, "total": 50}) + "\n"
        for row, accuracies in answers.items()
        for number, accuracy in enumerate(accuracies)
    )


@pytest.fixture
def find(world, tmp_path):
    """What a file of these scores says of the world's rows about math."""
    rows = read_examples(world / ROWS, world)
    path = tmp_path / "scores.jsonl"

    def run(text: str):
        path.write_text(text)
        return find_solved(str(path), rows, str(world))

    return run


def test_rows_always_or_never_right_are_left_out_and_counted(find, world):
    found = find(
        scores(
            {
                f"{ROWS}:1": [100, 100.0],
                f"{ROWS}:2": [0, 0, 40],
                f"{ROWS}:3": [0, 100],
                f"{ROWS}:4": [100],
                f"./{ROWS}:5": [51, None, 100],
                f"{ROWS}:6": [None, None],
                "queries/elsewhere.jsonl:7": [0, 0],
            }
        )
    )
    assert found.left_out == {f"{world}/{ROWS}:{line}" for line in (1, 2, 5)}
    rows = len(read_examples(world / ROWS, world))
    assert found.counts() == {
        "left out, always right": 2,
        "left out, never right": 1,
        "kept without two scored answers": rows - 4,
    }


def test_the_last_of_an_answers_scores_counts(find, world):
    first, again = scores({f"{ROWS}:1": [0, 100]}), scores({f"{ROWS}:1": [100]})
    assert not find(first).left_out
    assert find(first + again).left_out == {f"{world}/{ROWS}:1"}


def test_without_a_file_all_rows_stay():
    assert find_solved(None, [], "") == find_solved(None, iter(()), "x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "broken JSON"),
        ("[]", "no id and accuracy, as python -m curr_reft.self_improvement.judge writes them"),
        ('{"id": "a/b:1#0", "model_output": "candidates, unjudged"}', "no id and accuracy"),
        ('{"id": "b:1", "accuracy": 1}', "id: expected SOURCE/FILE:LINE#SAMPLE, found 'b:1'"),
        ('{"id": 3, "accuracy": 1}', "id: expected SOURCE/FILE:LINE#SAMPLE, found 3"),
        ('{"id": "a/b:1#0", "accuracy": true}', "accuracy: expected a number from 0 to 100 or null"),
        ('{"id": "a/b:1#0", "accuracy": NaN}', "accuracy: expected a number from 0 to 100 or null"),
        (
            '{"id": "a/b:1#0", "accuracy": 101}',
            "accuracy: expected a number from 0 to 100 or null, found 101",
        ),
    ],
)
def test_a_bad_line_is_named(line, said, find, tmp_path):
    with pytest.raises(InputError) as caught:
        find(scores({f"{ROWS}:1": [0]}) + line + "\n")
    assert str(caught.value).startswith(f"{tmp_path}/scores.jsonl:2: ")
    assert said in str(caught.value)


@given(st.text(max_size=40) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_other_text_is_refused_with_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        find_solved(str(path), [], "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no training row of the mixture"),
        (scores({"queries/elsewhere.jsonl:1": [0, 0]}), "names no training row of the mixture"),
        (scores({f"{ROWS}:1": [None]}), "names no training row of the mixture"),
        (scores({f"{ROWS}:{line}": [100, 100] for line in range(1, 99)}), "leaves no row: "),
    ],
)
def test_scores_of_no_use_are_refused(text, said, find, tmp_path):
    with pytest.raises(InputError, match=re.escape(f"--filter_solved {tmp_path}/scores.jsonl: {said}")):
        find(text)


def test_a_missing_file_ends_the_stage_with_one_line(stage_flags, trainers, refused):
    said = refused(
        lambda: run_stage(trainers["judge"], stage_flags("judge", "--filter_solved", "none.jsonl"))
    )
    assert said == "error: none.jsonl: No such file or directory\n"


@pytest.mark.slow
def test_a_models_own_judged_candidates_thin_out_its_stage(
    world, tiny_base, stage_flags, trainers, tmp_path, capsys
):
    source = {"domain": "math", "modality": "image", "json_path": ROWS, "quota": 1}
    sources = {"threshold": 85, "sources": {"own": {**source, "stage": "judge", "task": "math"}}}
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(sources))
    work = ("--output_dir", str(tmp_path / "work"))
    asked = ("--config", str(tmp_path / "sources.yaml"), "--data_root", str(world), "--model", str(tiny_base))
    candidates.main([*asked, *work, "--num_samples", "2", "--max_new_tokens", "48"])
    judge.main([*work, "--judge", "rule"])

    flags = stage_flags("judge", "--filter_solved", str(tmp_path / "work/scores.jsonl"))
    run = prepare(trainers["judge"].stage, flags)
    whole = prepare(trainers["judge"].stage, stage_flags("judge")).plan.train.dataset
    record = run.record["solved"]
    left_out = record["left out, always right"] + record["left out, never right"]
    assert 0 < left_out < len(read_examples(world / ROWS, world))
    assert len(run.plan.train.dataset) == len(whole) - left_out
    assert len(record["sha256"]) == 64
    run_stage(trainers["judge"], [*flags, "--dry_run"])
    assert "train rows left out, always right" in capsys.readouterr().out
