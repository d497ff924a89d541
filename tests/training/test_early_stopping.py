"""Early stopping: when it ends a run, what the manifest says, and a count that outlives a kill."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from curr_reft.errors import InputError
from curr_reft.training.early_stopping import StopOnPlateau
from curr_reft.training.run import prepare, run_stage


@pytest.fixture
def evaluate(tmp_path):
    """Takes a callback through evaluations, as the trainer does, and returns the step it ends at."""

    def run(callback, values, state, metric="eval_reward", rises=True):
        args = TrainingArguments(
            output_dir=str(tmp_path), metric_for_best_model=metric, greater_is_better=rises, use_cpu=True
        )
        control = TrainerControl()
        callback.on_train_begin(args, state, control)
        for value in values:
            if control.should_training_stop:
                break
            state.global_step += 10
            metrics = {metric: value}
            state.log_history.append({**metrics, "step": state.global_step})
            callback.on_evaluate(args, state, control, metrics)
            is_better = state.best_metric is None or (value > state.best_metric) is rises
            state.best_metric = value if is_better else state.best_metric
        return state.global_step if control.should_training_stop else None

    return run


@pytest.mark.parametrize(
    ("values", "threshold", "end"),
    [
        ([1.0, 1.1, 1.2, 1.3], 0.0, None),
        ([1.0, 1.2, 1.1, 1.2, 1.9], 0.0, 40),
        ([1.0, 1.2, 1.1, 1.3, 1.2, 1.1], 0.0, 60),
        ([1.0, 1.1, 1.15, 1.9], 0.2, 30),
        ([1.0, 1.1, 1.4, 1.5], 0.2, None),
        ([1.0], 0.0, None),
    ],
)
def test_a_run_ends_after_evaluations_without_a_better_one(values, threshold, end, evaluate):
    callback = StopOnPlateau(2, threshold)
    assert evaluate(callback, values, TrainerState(max_steps=1000)) == end
    assert (callback.reason is None) is (end is None)


def test_the_reason_names_the_best(evaluate):
    callback = StopOnPlateau(2, 0.05)
    evaluate(callback, [1.0, 1.25, 1.1, 1.25], TrainerState(max_steps=1000))
    assert callback.reason == (
        "eval_reward did not rise by more than 0.05 in 2 evaluations; best 1.25 at step 20"
    )
    callback = StopOnPlateau(1)
    evaluate(callback, [0.5, 0.6], TrainerState(max_steps=1000), "eval_loss", rises=False)
    assert callback.reason == "eval_loss did not fall by more than 0 in 1 evaluations; best 0.5 at step 10"


def test_the_last_step_ends_a_run_as_ever(evaluate):
    callback = StopOnPlateau(1)
    evaluate(callback, [1.0, 0.9], TrainerState(max_steps=20))
    assert callback.reason is None


def test_a_run_that_goes_on_has_the_count_of_its_checkpoint(evaluate, tmp_path):
    state, callback = TrainerState(max_steps=1000), StopOnPlateau(3)
    assert evaluate(callback, [1.0, 0.9, 0.8], state) is None
    state.stateful_callbacks["StopOnPlateau"] = callback.state()
    state.save_to_json(str(tmp_path / "state.json"))

    def resumed():
        return TrainerState.load_from_json(str(tmp_path / "state.json"))

    assert evaluate(StopOnPlateau(3), [0.7], resumed()) == 40
    # The flags of the new start hold, and one that asks for less ends before a step is taken.
    assert evaluate(StopOnPlateau(4), [0.7], resumed()) is None
    assert evaluate(StopOnPlateau(2), [], resumed()) == 30


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--early_stopping_patience 2: needs evaluations of validation rows"),
        ("--eval_strategy steps --early_stopping_patience 0", "must be at least 1"),
        ("--eval_strategy steps --early_stopping_threshold -1", "not negative"),
        ("--eval_strategy steps --early_stopping_threshold nan", "not negative"),
        ("--eval_strategy steps --metric_for_best_model bleu", "bleu: an evaluation gives accuracy/classify"),
        ("--eval_strategy steps --metric_for_best_model eval_accuracy/ocr", "an evaluation gives"),
        ("--eval_strategy steps --metric_for_best_model eval_kl --beta 0", "an evaluation gives"),
        (
            "--eval_strategy steps --reward_funcs format --metric_for_best_model accuracy/math",
            "an evaluation gives completions/mean_length, entropy, format/classify, format/detection,",
        ),
    ],
)
def test_what_no_evaluation_gives_is_refused_before_weights_load(flags, message, stage_flags, trainers):
    more = ["--early_stopping_patience", "2", *flags.split()]
    with pytest.raises(InputError) as caught:
        prepare(trainers["open"].stage, stage_flags("open", *more))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "metric", "rises"),
    [
        ("", "eval_reward", True),
        ("--metric_for_best_model accuracy/math", "accuracy/math", True),
        ("--metric_for_best_model loss", "loss", False),
    ],
)
def test_the_metric_is_the_validation_reward_unless_named(flags, metric, rises, stage_flags, trainers):
    more = ["--early_stopping_patience", "2", "--eval_strategy", "steps", *flags.split()]
    config = prepare(trainers["open"].stage, stage_flags("open", *more)).config
    assert (config.metric_for_best_model, config.greater_is_better) == (metric, rises)


@pytest.mark.slow
def test_an_evaluation_gives_the_metrics_that_may_be_named(stage_flags, trainers, tmp_path, refused):
    evaluated = ["--max_steps", "1", "--eval_strategy", "steps", "--eval_steps", "1"]
    run_stage(trainers["open"], stage_flags("open", *evaluated))
    history = json.loads((tmp_path / "run/trainer_state.json").read_text())["log_history"]
    flags = stage_flags("open", *evaluated, "--output_dir", str(tmp_path / "next"))
    error = refused(lambda: run_stage(trainers["open"], [*flags, "--metric_for_best_model", "bleu"]))
    named = error.rpartition("an evaluation gives ")[2].strip().split(", ")
    assert len(named) > 10
    assert {f"eval_{name}" for name in named} <= {key for entry in history for key in entry}


@pytest.fixture
def train(stage_flags, trainers, tmp_path):
    """Trains without a reward that rises and returns the directory."""
    (tmp_path / "flat.py").write_text("def flat(completions, **_):\n    return [0.5] * len(completions)\n")

    def run(*flags):
        more = [
            *("--reward_funcs", f"{tmp_path}/flat.py:flat", "--max_steps", "9", "--num_generations", "2"),
            *("--eval_strategy", "steps", "--eval_steps", "1", "--save_steps", "1", *flags),
            *("--max_completion_length", "8", "--early_stopping_patience", "3"),
        ]
        run_stage(trainers["judge"], stage_flags("judge", *more))
        return tmp_path / "run"

    return run


REASON = "eval_reward did not rise by more than 0 in 3 evaluations; best 0.5 at step 1"


@pytest.mark.slow
@pytest.mark.parametrize("last", [4, 3])
def test_a_run_that_ends_early_is_finished_and_a_killed_one_ends_there_too(
    last, train, stage_flags, trainers, refused, tmp_path, caplog
):
    with caplog.at_level("INFO"):
        run = train()
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["status"], manifest["stopped_early"]) == ("finished", REASON)
    assert f"stopped early after step 4: {REASON}" in caplog.text
    assert json.loads((run / "trainer_state.json").read_text())["global_step"] == 4
    assert "holds a finished run" in refused(train)
    weights = load_file(run / "model.safetensors")
    # The next stage starts from what it left.
    flags = stage_flags("judge", "--model_name_or_path", str(run), "--output_dir", str(tmp_path / "next"))
    prepare(trainers["judge"].stage, flags)

    # Killed before its end was written down.
    (run / "model.safetensors").unlink()
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    for step in range(last + 1, 5):
        shutil.rmtree(run / f"checkpoint-{step}")
    train()
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["status"], manifest["stopped_early"]) == ("finished", REASON)
    assert manifest["resumed_from"] == str(run / f"checkpoint-{last}")
    assert json.loads((run / "trainer_state.json").read_text())["global_step"] == 4
    again = load_file(run / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.slow
def test_the_best_model_is_loaded_after_an_early_end(train):
    run = train("--load_best_model_at_end", "true", "--learning_rate", "1e-3", "--weight_decay", "0.5")
    folders = (run / "checkpoint-1", run / "checkpoint-4", run)
    best, last, left = (load_file(folder / "model.safetensors") for folder in folders)
    assert all(torch.equal(best[name], left[name]) for name in best)
    assert not all(torch.equal(last[name], left[name]) for name in last)
