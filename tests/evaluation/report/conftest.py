"""Folders as evaluations, trainings, pass@k and other harnesses leave them."""

import json
import math
import random

import pytest
from scored_rows import SUITES, TINY, score_of, scored_row

from curr_reft.evaluation.report.command import main


@pytest.fixture
def write_evaluation(tmp_path):
    """Writes an evaluation whose suites have the strict accuracies given, and returns its folder."""

    def write(folder, rows_of=None, n=30, architecture=TINY, step=None, root=tmp_path, **accuracies):
        folder = tmp_path / folder
        folder.mkdir(parents=True)
        scores = {}
        for suite, accuracy in accuracies.items():
            task = SUITES[suite][0]
            solutions = {"detection": '{"bbox_2d": [4, 6, 30, 32]}', "classify": "cube, ball", "math": "7"}
            example = {"problem": "What is in the image?", "solution": f"<answer>{solutions[task]}</answer>"}
            made = (rows_of or {}).get(suite) or [
                scored_row(number, task, int(number < round(accuracy * n)), number % 5 == 0, example)
                for number in range(n)
            ]
            (folder / f"{suite}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
            scores[suite] = score_of(made, suite)
        record = {
            "model": f"outputs/{folder.name}",
            "name": folder.name,
            "step": step,
            "model_digest": "ab" * 32,
            "architecture": architecture,
            "training_run": None,
            "data_root": str(root),
            "backend": "transformers",
            "scores": scores,
            "python": "3.11.9",
            "packages": {"torch": "2.11.0", "transformers": "5.17.0"},
            "git_revision": "0" * 40,
        }
        (folder / "scores.json").write_text(json.dumps(record))
        return folder

    return write


@pytest.fixture
def write_training(tmp_path):
    """Writes a training run's state and manifest, and returns its folder."""

    def write(folder, stage="judge", steps=100, every=1):
        folder = tmp_path / folder
        folder.mkdir(parents=True, exist_ok=True)
        rng = random.Random(stage)
        log = []
        for step in range(every, steps + 1, every):
            level = 0.4 + 0.4 * (1 - math.exp(-step / 40))
            tasks = {
                f"accuracy/{task}": level + rng.uniform(-0.15, 0.15)
                for task in ("detection", "classify", "math")
            }
            reward = sum(tasks.values()) / 3 + 0.95
            more = {"kl": 0.002 * step * rng.uniform(0.7, 1.3), "frac_reward_zero_std": rng.uniform(0.1, 0.4)}
            log.append(
                {
                    "step": step,
                    "reward": reward,
                    "reward_std": 0.4,
                    **tasks,
                    **more,
                    "completions/mean_length": 20.0,
                }
            )
        log.append({"step": steps, "train_loss": 0.01})
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log, "global_step": steps}))
        config = {"learning_rate": 1e-6, "beta": 0.04, "seed": 42}
        manifest = {"stage": stage, "status": "finished", "config": config}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


@pytest.fixture
def write_pass_at_k(tmp_path):
    """Writes a pass@k result and returns its path."""

    def write(path, task_type="judge", model="outputs/open", base=0.5):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        points = [
            {
                "k": k,
                "pass_at_k": 1 - (1 - base) ** (k**0.5),
                "low": 0.9 * (1 - (1 - base) ** (k**0.5)),
                "high": min(1, 1.1 * (1 - (1 - base) ** (k**0.5))),
                "problems": 50,
            }
            for k in (1, 2, 4, 8, 16)
        ]
        result = {"task_type": task_type, "model": model, "num_samples": 16, "problems": 50, "k": points}
        # So few samples were judged that no problem had 32.
        result["k"].append({"k": 32, "pass_at_k": None, "low": None, "high": None, "problems": 0})
        path.write_text(json.dumps({**result, "unjudged": 0, "judge": "rule"}))
        return path

    return write


@pytest.fixture
def write_benchmarks(tmp_path):
    """Writes results of general benchmarks and returns their path."""

    def write(folder, model="outputs/open", **results):
        path = tmp_path / folder / "general_benchmarks.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {
                    "model": model,
                    "harness": "VLMEvalKit 0.2",
                    "results": results,
                    "paper_differs": ["AI2D: another prompt"],
                }
            )
        )
        return path

    return write


@pytest.fixture
def report(tmp_path):
    """Runs the command with an output folder and returns that."""

    def run(*arguments):
        output = tmp_path / "report"
        main([*map(str, arguments), "--output_dir", str(output)])
        return output

    return run


@pytest.fixture
def fails(capsys, tmp_path):
    """Runs the command, checks that it ends with one line and 2 and leaves nothing, and returns the line."""

    def run(*arguments):
        capsys.readouterr()
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments)])
        assert caught.value.code == 2
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run
