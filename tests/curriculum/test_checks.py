"""What is found wrong before the first step starts."""

import json

import pytest

from curr_reft.curriculum.checks import check_curriculum
from curr_reft.errors import InputError
from curr_reft.files.manifest import mark_finished, write_manifest

VALIDATED = {"run": "judge", "flags": {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5}}


def refused(curriculum, steps=None) -> str:
    with pytest.raises(InputError) as error:
        check_curriculum(curriculum, steps or curriculum.steps)
    return str(error.value)


def test_a_sound_curriculum_passes(loaded):
    curriculum = loaded([VALIDATED, {"run": "choice", "checkpoint": "best"}, "open", "evaluation", "report"])
    check_curriculum(curriculum, curriculum.steps)


def test_best_needs_validation_and_validation_rows(loaded, tmp_path):
    best = {"run": "choice", "checkpoint": "best"}
    assert "stage1_judge is not validated; give it eval_strategy: steps" in refused(loaded(["judge", best]))
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text("train_datasets: [{json_path: train/judge/judge_math_train.jsonl}]\n")
    flags = {**VALIDATED["flags"], "dataset_name": str(mixture)}
    assert "lists no val_datasets" in refused(loaded([{"run": "judge", "flags": flags}, best]))
    assert "the base has one, the last" in refused(loaded([{"run": "judge", "checkpoint": "best"}]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max_steps": 25}, "the step before ends at 25 (max_steps)"),
        ({"max_steps": 500, "save_strategy": "epoch"}, "needs all checkpoints there"),
        ({"max_steps": 500, "save_total_limit": 1}, "needs all checkpoints there"),
    ],
)
def test_a_checkpoint_that_will_not_be_there_is_refused(flags, message, loaded):
    steps = [{"run": "judge", "flags": {"save_steps": 100, **flags}}, {"run": "choice", "checkpoint": 100}]
    assert message in refused(loaded(steps))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"run": "evaluation", "flags": {"nonsense": 1}}, "evaluation: unrecognized arguments: --nonsense"),
        ({"run": "evaluation", "flags": {"sample_num": 0}}, "evaluation: --sample_num 0"),
        (
            {"run": "rejection_sampling", "flags": {"num_samples": "x"}, "judge": {"judge": "rule"}},
            "rejection_sampling: argument --num_samples",
        ),
        (
            {"run": "rejection_sampling", "judge": {"judge": "rule", "ask": True}},
            "rejection_sampling: unrecognized arguments: --ask",
        ),
    ],
)
def test_flags_of_other_steps_are_checked(step, message, loaded):
    sources = {"rejection_sampling": {"config": "configs/self_improvement/shapes.yaml"}}
    assert message in refused(loaded([step], defaults=sources))


def test_what_a_finished_step_needed_is_not_asked_for_again(loaded):
    sources = {"run": "rejection_sampling", "config": "configs/self_improvement/shapes.yaml"}
    curriculum = loaded([sources, {"run": "evaluation", "of": "base"}])
    assert "JUDGE_URL" in refused(curriculum)
    write_manifest(curriculum.records / "rejection_sampling", {})
    mark_finished(curriculum.records / "rejection_sampling", {})
    curriculum.folder("rejection_sampling").mkdir()
    check_curriculum(curriculum, curriculum.steps)


def test_fine_tuning_needs_the_rows_of_the_step_before(loaded):
    sources = {"run": "rejection_sampling", "config": "configs/self_improvement/shapes.yaml"}
    curriculum = loaded([sources, "reject_sft"])
    assert "reject_sft: needs rejection_sampling, which is" in refused(curriculum, curriculum.steps[1:])


def test_a_step_between_two_saved_ones_is_refused(loaded):
    steps = [
        {"run": "judge", "flags": {"save_steps": 100, "max_steps": 900}},
        {"run": "choice", "checkpoint": 550},
    ]
    assert "checkpoint: 550: the step before saves at multiples of 100" in refused(loaded(steps))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"learning_rat": 1}, "stage1_judge: unknown key 'learning_rat' (did you mean 'learning_rate'?)"),
        ({"max_steps": "many"}, "stage1_judge: argument --max_steps"),
        ({"loss_type": "ppo"}, "stage1_judge: argument --loss_type"),
        ({"dataset_name": "no.yaml"}, "stage1_judge: dataset_name no.yaml: cannot be read"),
    ],
)
def test_flags_of_a_stage_are_checked(flags, message, loaded):
    assert message in refused(loaded([{"run": "judge", "flags": flags}]))


def test_places_are_checked(loaded):
    assert "model: no/such/model: no such directory" in refused(loaded(["judge"], model="no/such/model"))
    assert "data_root: " in refused(loaded(["judge"], data_root="no/folder"))
    sources = {"run": "rejection_sampling", "config": "configs/self_improvement/shapes.yaml"}
    assert "query_root: " in refused(loaded([sources], query_root="no/folder"))
    assert "no such file, and no step before it writes rows" in refused(loaded(["normal_sft"]))


def test_a_judge_model_needs_a_place(loaded, monkeypatch):
    for name in ("JUDGE_URL", "JUDGE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    sources = {"run": "rejection_sampling", "config": "configs/self_improvement/shapes.yaml"}
    curriculum = loaded([sources])
    assert "a judge model needs JUDGE_URL and JUDGE_MODEL" in refused(curriculum)
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("JUDGE_MODEL", "m")
    step = loaded([sources]).steps[0]
    assert step.judge == {"judge": "llm", "judge_url": "http://127.0.0.1:1", "judge_model": "m"}


def test_a_later_step_needs_what_it_starts_from(loaded):
    curriculum = loaded(["judge", "choice"])
    assert "needs stage1_judge, which is not finished" in refused(curriculum, curriculum.steps[1:])


def test_a_model_of_another_architecture_is_refused(loaded, tiny_base):
    curriculum = loaded(["judge", "choice"])
    folder = curriculum.folder("stage1_judge")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"status": "finished"}')
    (folder / "model.safetensors").write_bytes((tiny_base / "model.safetensors").read_bytes())
    config = json.loads((tiny_base / "config.json").read_text())
    config.get("text_config", config)["hidden_size"] = 2048
    (folder / "config.json").write_text(json.dumps(config))
    assert "is of another model: " in refused(curriculum)
