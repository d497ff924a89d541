"""Curricula read from their files: defaults, starts, what is wrong with them."""

import json

import pytest
import yaml

from curr_reft.curriculum.steps import load_curriculum
from curr_reft.errors import InputError

ALL = ["judge", "choice", "open", "rejection_sampling", "reject_sft", "evaluation", "report"]
SOURCES = {"rejection_sampling": {"config": "configs/self_improvement/shapes.yaml"}}


def test_each_step_starts_from_the_last_model_before_it(loaded):
    steps = {step.name: step for step in loaded(ALL, defaults=SOURCES).steps}
    assert [step.start for step in steps.values()] == [
        *("base", "stage1_judge", "stage2_choice", "stage3_open", "stage3_open"),
        *("", ""),
    ]
    assert steps["reject_sft"].data == "rejection_sampling"
    assert steps["evaluation"].of == ("base", "stage1_judge", "stage2_choice", "stage3_open", "reject_sft")
    assert steps["report"].of == ("evaluation",)


def test_stages_come_in_any_order_and_number(loaded):
    twice = {"run": "judge", "name": "judge_again", "from": "base", "checkpoint": 500}
    steps = loaded(["stage3_open", "judge", twice, {"run": "choice", "from": "judge"}]).steps
    assert [(step.name, step.start, step.checkpoint) for step in steps] == [
        ("stage3_open", "base", "last"),
        ("stage1_judge", "stage3_open", "last"),
        ("judge_again", "base", "500"),
        ("stage2_choice", "stage1_judge", "last"),
    ]


def test_flags_beat_files_and_defaults_and_a_command_line_beats_all(loaded):
    defaults = {"stage": {"flags": {"beta": 0.1, "max_steps": 1}}, "judge": {"flags": {"max_steps": 2}}}
    own = {"run": "judge", "flags": {"seed": 3}}
    (judge, choice) = loaded([own, "choice"], {"beta": "0.2"}, defaults=defaults).steps
    assert (judge.settings["beta"], judge.settings["max_steps"], judge.settings["seed"]) == ("0.2", 2, 3)
    assert (choice.settings["beta"], choice.settings["max_steps"]) == ("0.2", 1)
    # What the files say, and the others do not.
    assert judge.settings["max_completion_length"] == 80
    assert "output_dir" not in judge.settings


def test_files_go_on_top_of_those_of_stages(loaded, written, tmp_path):
    (tmp_path / "lora.yaml").write_text("use_peft: true\nbeta: 0.5\nmax_steps: 7\n")
    (tmp_path / "more.yaml").write_text("beta: 0.6\n")
    steps = [
        {"run": "judge", "overlays": str(tmp_path / "lora.yaml"), "flags": {"max_steps": 9}},
        "normal_sft",
    ]
    judge, tuning = load_curriculum(written(steps), {}, {}, [str(tmp_path / "more.yaml")]).steps
    assert [judge.settings[name] for name in ("use_peft", "beta", "max_steps")] == [True, 0.6, 9]
    assert "beta" not in tuning.settings
    defaults = {"stage": {"overlays": str(tmp_path / "lora.yaml")}}
    assert loaded(["choice"], defaults=defaults).steps[0].settings["use_peft"] is True


def test_what_the_curriculum_gives_is_refused_from_the_command_line_too(loaded):
    with pytest.raises(InputError, match="model_name_or_path is the curriculum's to give"):
        loaded(["judge"], {"model_name_or_path": "x"})


def test_rows_of_ones_own_beat_those_of_a_step(loaded):
    rows = {"run": "gold_rows", "config": "configs/data/others/shapes.yaml", "flags": {"stage": "open"}}
    own, written = loaded(
        [rows, {"run": "normal_sft", "flags": {"dataset": "mine.jsonl"}}, "reject_sft"]
    ).steps[1:]
    assert (own.data, own.settings["dataset"]) == (None, "mine.jsonl")
    assert written.data == "gold_rows"


def test_one_seed_is_that_of_all_steps(loaded):
    steps = loaded(ALL, defaults=SOURCES, seed=7).steps
    assert [step.settings.get("seed") for step in steps] == [7, 7, 7, 7, 7, None, None]
    assert steps[0].settings["data_seed"] == 7


def test_a_file_extends_another_and_is_repeated_from_the_manifest(written, tmp_path):
    base = written(ALL, defaults=SOURCES)
    # Of the defaults, kinds that are not named here stay.
    extending = tmp_path / "short.yaml"
    keys = {
        "extends": base.name,
        "steps": ["open", "rejection_sampling", "evaluation"],
        "defaults": {"open": {"flags": {"beta": 0.3}}},
    }
    extending.write_text(yaml.safe_dump(keys))
    curriculum = load_curriculum(extending, {}, {"max_steps": 3})
    assert [step.name for step in curriculum.steps] == ["stage3_open", "rejection_sampling", "evaluation"]
    assert curriculum.steps[0].settings["beta"] == 0.3
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"status": "finished", "config": curriculum.document()}))
    assert load_curriculum(manifest, {}, {}) == curriculum


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["juge"], "steps[0]: run: 'juge' is none of judge, choice, open"),
        ([{"name": "x"}], "steps[0]: the key 'run' is missing"),
        (["judge", "judge"], "steps[1] (stage1_judge): a step of this name stands above it"),
        ([{"run": "judge", "from": "choice"}, "choice"], "from: 'choice' is no such step above it: base"),
        ([{"run": "judge", "from": "stage1_judge"}], "from: 'stage1_judge' is no such step above it: base"),
        (["evaluation", {"run": "judge", "from": "evaluation"}], "from: 'evaluation' is no such step"),
        ([{"run": "judge", "checkpoint": "first"}], "checkpoint: 'first': last, a step, best or best:METRIC"),
        ([{"run": "judge", "checkpoint": -1}], "checkpoint: -1"),
        ([{"run": "judge", "checkpoint": 0}], "checkpoint: 0"),
        ([{"run": "judge", "checkpoint": True}], "checkpoint"),
        ([{"run": "evaluation", "checkpoint": "best"}], "evaluation takes no checkpoint"),
        ([{"run": "evaluation", "from": "base"}], "evaluation takes no from"),
        ([{"run": "judge", "of": "base"}], "judge takes no of"),
        ([{"run": "judge", "fron": "base"}], "steps[0]: unknown key 'fron'"),
        ([{"run": "judge", "name": "../x"}], "name: letters, digits"),
        ([{"run": "judge", "name": "base"}], "name: letters, digits"),
        ([{"run": "judge", "config": "no.yaml"}], "no.yaml: no such file"),
        ([{"run": "judge", "flags": {"output_dir": "x"}}], "flags: output_dir is the curriculum's to give"),
        ([{"run": "judge", "processes": 0}], "processes: Input should be greater than or equal to 1"),
        (["rejection_sampling"], "rejection_sampling): config: name its file"),
        ([{"run": "reject_sft", "data": "judge"}], "data: 'judge' is no such step above it: there is none"),
        ([{"run": "evaluation", "of": "open"}], "of: 'open' is no such step above it: base"),
        ([], "steps: List should have at least 1 item"),
        ([["judge"]], "steps.0"),
    ],
)
def test_what_is_wrong_with_a_step_is_one_line(steps, message, loaded):
    with pytest.raises(InputError) as error:
        loaded(steps)
    assert message in str(error.value)
    assert "curriculum.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"modell": "x"}, "unknown key 'modell'"),
        ({"model": None}, "model: Input should be a valid string"),
        ({"processes": "many"}, "processes: Input should be a valid integer"),
        ({"defaults": {"jugde": {}}}, "defaults: jugde: expected stage or one of judge"),
        ({"configs": "configs/none"}, "configs/none/stage1_judge.yaml: no such file"),
        ({"extends": "curriculum.yaml"}, "extends itself"),
    ],
)
def test_what_is_wrong_with_the_whole_is_one_line(keys, message, loaded):
    with pytest.raises(InputError, match=r"curriculum\.yaml") as error:
        loaded(["judge"], **keys)
    assert message in str(error.value)


def test_a_manifest_of_something_else_is_refused(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"status": "finished"}')
    with pytest.raises(InputError, match="not the manifest of a curriculum"):
        load_curriculum(path, {}, {})
