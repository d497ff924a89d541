"""The whole chain by one command, with one adapter through all stages."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from curr_reft.curriculum.status import status
from curr_reft.models.weights import is_adapter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_an_adapter_goes_through_stages_fine_tuning_and_evaluation(root, world, tiny_base, tmp_path):
    suites = {"config": "configs/eval/shapes.yaml", "flags": {"max_new_tokens": 16, "sample_num": 2}}
    document = {
        "model": str(tiny_base),
        "configs": "configs/tiny",
        "output_dir": str(tmp_path / "an output"),
        "data_root": str(world),
        "processes": 1,
        "steps": [
            *("judge", {"run": "choice", "checkpoint": "best"}, "open"),
            {"run": "gold_rows", "config": "configs/data/others/shapes.yaml", "flags": {"stage": "open"}},
            {"run": "normal_sft", "flags": {"max_steps": 2, "logging_steps": 1}},
            {"run": "evaluation", "of": ["stage3_open", "normal_sft"], **suites},
            "report",
        ],
    }
    path = tmp_path / "curriculum.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    small = [
        *("--use_peft", "true", "--learning_rate", "1e-3", "--max_steps", "2", "--logging_steps", "1"),
        *("--eval_strategy", "steps", "--eval_steps", "1", "--save_steps", "1", "--held_out_suites", "none"),
        *("--per_device_train_batch_size", "1", "--num_generations", "2", "--max_completion_length", "16"),
        *("--per_device_eval_batch_size", "2"),
    ]
    result = subprocess.run(
        [sys.executable, "-m", "curr_reft.curriculum", str(path), *small],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    out = tmp_path / "an output"
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert {row[1] for row in status(out).rows} == {"finished"}
    assert all(is_adapter(out / stage) for stage in ("stage1_judge", "stage2_choice", "stage3_open"))
    assert not is_adapter(out / "normal_sft")
    judge = json.loads((out / "stage1_judge/trainer_state.json").read_text())["log_history"]
    scores = {entry["step"]: entry["eval_reward"] for entry in judge if "eval_reward" in entry}
    best = 2 if scores[2] > scores[1] else 1
    start = json.loads((out / "curriculum/stage2_choice/manifest.json").read_text())["starts"]["stage1_judge"]
    assert start["place"] == str(out / f"stage1_judge/checkpoint-{best}")
    results = json.loads((out / "report/results.json").read_text())
    assert {each["name"] for each in results["evaluations"]} == {"stage3_open", "normal_sft"}
