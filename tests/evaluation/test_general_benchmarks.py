"""The results of lmms-eval as files of lmms-eval 0.7.3 hold them, and the script that runs it."""

import json
import os
import shlex
import subprocess

import pytest

from curr_reft.errors import InputError
from curr_reft.evaluation.general import BENCHMARKS, convert, main
from curr_reft.evaluation.report.documents import read_benchmarks
from curr_reft.evaluation.report.paper import benchmark_names

# What a run of the six tasks wrote, without the errors of the means.
RESULTS = {
    "ai2d": {
        "alias": "ai2d",
        "exact_match,flexible-extract": 0.8141,
        "exact_match_stderr,flexible-extract": 0.01,
    },
    "mmvet": {"alias": "mmvet", "gpt_eval_score,none": 61.8, "gpt_eval_score_stderr,none": "N/A"},
    "mmbench_en_dev_static": {"gpt_eval_score,none": 76.8, "submission,none": None},
    "mathvista_testmini_cot": {"llm_as_judge_eval,none": 61.2, "submission,none": []},
    "ocrbench": {"ocrbench_accuracy,none": 0.797, "ocrbench_accuracy_stderr_clt,none": 0.3},
    "openai_math": {"exact_match,none": 0.551, "extracted_answers,none": 999, "exact_matches,none": []},
}


@pytest.fixture
def write(tmp_path):
    """Writes a results file as lmms-eval does, below a folder named after the model's path."""

    def write(results, stamp="20261123_063416", model="runs/stage3", limit=None):
        path = tmp_path / f"lmms_eval/runs__stage3/{stamp}_results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"results": results, "config": {"limit": limit}, "model_name": model}
        path.write_text(json.dumps({**record, "lmms_eval_version": "unknown@unknown"}))
        return path

    return write


def test_scales_are_the_papers(write, tmp_path):
    write(RESULTS)
    # The harness writes this one beside its results.
    submission = tmp_path / "lmms_eval/submissions/mmbench_en_dev_static_results.json"
    submission.parent.mkdir()
    submission.write_text('{"overall_acc": 0.768}')
    flags = ("--harness_results", tmp_path / "lmms_eval", "--model", "runs/stage3", "--output_dir", tmp_path)
    main([*map(str, flags), "--harness_version", "0.7.3"])
    record = json.loads((tmp_path / "general_benchmarks.json").read_text())
    assert record["results"] == {
        "AI2D": 81.41,
        "MMVet": 61.8,
        "MMBench": 76.8,
        "MathVista": 61.2,
        "OCRBench": 797,
        "MATH": 55.1,
    }
    assert record["model"] == "runs/stage3"
    assert record["harness"] == "lmms-eval 0.7.3"
    assert record["metrics"]["AI2D"] == "ai2d, exact_match,flexible-extract"
    assert any(note.startswith("MATH: a guess") for note in record["paper_differs"])
    assert read_benchmarks("ours", tmp_path / "general_benchmarks.json").results == record["results"]


def test_every_column_of_the_paper_has_a_task():
    assert {benchmark.name for benchmark in BENCHMARKS} == set(benchmark_names())


def test_each_benchmark_takes_its_newest_result(write, tmp_path):
    write(RESULTS, "20261123_063416")
    write({"ocrbench": {"ocrbench_accuracy,none": 0.5}}, "20270101_000000", limit=2)
    record = convert(tmp_path, "runs/stage3")
    assert record["results"]["OCRBench"] == 500
    assert record["results"]["AI2D"] == 81.41
    assert "OCRBench: only a part of the rows (--limit 2)" in record["paper_differs"]


def test_only_what_was_run_is_there(write, tmp_path):
    write({"ocrbench": RESULTS["ocrbench"], "mmmu_val": {"mmmu_acc,none": 0.4}})
    assert list(convert(tmp_path, "runs/stage3")["results"]) == ["OCRBench"]


@pytest.mark.parametrize(("silent", "kept"), [(0, True), (1, True), (2, False), (100, False)])
def test_a_judge_that_did_not_answer_is_no_score(silent, kept, write, tmp_path):
    path = write({"mmvet": RESULTS["mmvet"]})
    models = ["gpt-4-turbo-2024-04-09"] * (100 - silent) + [""] * silent
    rows = [{"filtered_resps": "x", "gpt_eval_score": {"eval_model": model}} for model in models]
    log = path.with_name("20261123_063416_samples_mmvet.jsonl")
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = convert(tmp_path, "runs/stage3")
    assert ("MMVet" in record["results"]) is kept
    assert any(f"did not answer for {silent} of 100" in note for note in record["paper_differs"]) is bool(
        silent
    )
    judge = "gpt-4-turbo-2024-04-09" if silent < 100 else "not recorded"
    assert any(f"the judge is {judge}," in note for note in record["paper_differs"])


def test_null_is_left_out(write, tmp_path):
    write({**RESULTS, "mathvista_testmini_cot": {"llm_as_judge_eval,none": None}})
    record = convert(tmp_path, "runs/stage3")
    assert "MathVista" not in record["results"]
    assert "MathVista: left out: lmms-eval wrote null" in record["paper_differs"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"ai2d": {"exact_match,none": 0.8}}, "ai2d: exact_match,flexible-extract: not there"),
        ({"ai2d": {"exact_match,flexible-extract": "N/A"}}, "expected a number from 0 to 1, got 'N/A'"),
        ({"ai2d": {"exact_match,flexible-extract": 81.4}}, "expected a number from 0 to 1, got 81.4"),
        ({"mmvet": {"gpt_eval_score,none": float("nan")}}, "expected a number from 0 to 100, got nan"),
        ({"mmvet": {"gpt_eval_score,none": True}}, "got True"),
        ({"mmvet": 61.8}, "mmvet: gpt_eval_score,none: not there"),
        ({"mmmu_val": {"mmmu_acc,none": 0.4}}, "holds none of the tasks ai2d, mmvet"),
        ({}, "holds none of the tasks"),
        ([], "not a results file of lmms-eval"),
    ],
)
def test_strange_results_are_refused(results, message, write, tmp_path):
    write(results)
    with pytest.raises(InputError, match=message):
        convert(tmp_path, "runs/stage3")


def test_strange_files_are_refused(write, tmp_path):
    with pytest.raises(InputError, match="holds no results of lmms-eval"):
        convert(tmp_path, "runs/stage3")
    path = write(RESULTS, model="runs/stage2")
    with pytest.raises(InputError, match="results of runs/stage2, not of --model runs/stage3"):
        convert(tmp_path, "runs/stage3")
    path.with_name("20261123_063416_samples_mmvet.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="not a log of mmvet"):
        convert(tmp_path, "runs/stage2")
    path.write_text("{")
    with pytest.raises(InputError, match="broken JSON"):
        convert(tmp_path, "runs/stage2")


@pytest.fixture
def script(root, tmp_path):
    """Runs the script in an empty environment; a GPU count stands in for `nvidia-smi`'s."""

    def script(*arguments, gpus=0, **environment):
        stub = tmp_path / "bin/nvidia-smi"
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/sh\nseq {gpus}\n")
        stub.chmod(0o755)
        return subprocess.run(
            ["bash", root / "scripts/general_benchmarks.sh", *map(str, arguments)],
            env={"PATH": f"{stub.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return script


def test_dry_run_prints_the_commands(script, tiny_base, tmp_path):
    done = script(tiny_base, tmp_path / "out", "--dry_run", "--limit", "2", gpus=8, OPENAI_API_KEY="secret")
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout
    assert not (tmp_path / "out").exists()
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    runs = [command for command in commands if "lmms_eval" in command]
    assert {run[run.index("--tasks") + 1] for run in runs} == {benchmark.task for benchmark in BENCHMARKS}
    for run in runs:
        assert "MODEL_VERSION=gpt-4-turbo-2024-04-09" in run
        assert run[run.index("--num_processes") + 1] == "8"
        assert run[run.index("--model_args") + 1] == f"pretrained={tiny_base}"
        assert run[run.index("--gen_kwargs") + 1].startswith("temperature=0,")
        assert json.loads(run[run.index("--reasoning_tags") + 1])
        assert run[-2:] == ["--limit", "2"]
    assert commands[-1][:3] == ["python", "-m", "curr_reft.evaluation.general"]
    assert commands[-1][commands[-1].index("--harness_version") + 1] == "0.7.3"


def test_without_a_judge_three_are_left_out(script, tiny_base, tmp_path):
    done = script(tiny_base, tmp_path / "out", "--dry_run", JUDGE="none")
    assert done.returncode == 0, done.stderr
    assert "MMVet, MathVista and MATH are left out" in done.stderr
    assert done.stdout.count("-m lmms_eval") == 3


def test_a_benchmark_with_results_is_not_run_again(script, tiny_base, tmp_path):
    results = tmp_path / "out/lmms_eval/ai2d/tiny__base/20261123_063416_results.json"
    results.parent.mkdir(parents=True)
    results.touch()
    submission = (
        tmp_path / "out/lmms_eval/mmbench_en_dev_static/submissions/mmbench_en_dev_static_results.json"
    )
    submission.parent.mkdir(parents=True)
    submission.touch()
    done = script(tiny_base, tmp_path / "out", "--dry_run", JUDGE="none")
    assert "== ai2d has results" in done.stderr
    assert done.stdout.count("-m lmms_eval") == 2


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {}, "usage: scripts/general_benchmarks.sh MODEL OUTPUT_DIR"),
        (["{base}"], {}, "usage:"),
        (["--dry_run", "{base}"], {}, "usage:"),
        (["./nowhere", "{out}"], {}, "MODEL ./nowhere: no such directory"),
        (["/no/where", "{out}"], {}, "MODEL /no/where: no such directory"),
        (["{tmp}", "{out}"], {}, "holds no config.json"),
        (["a/b,c", "{out}"], {}, "a comma or an equals sign"),
        (["{base}", "{out}", "--dry_run"], {}, "MMVet, MathVista and MATH are graded by a judge"),
        (["{base}", "{out}"], {"JUDGE": "none"}, "HF_TOKEN is not set"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, environment, message, script, tiny_base, tmp_path):
    places = {"base": tiny_base, "out": tmp_path / "out", "tmp": tmp_path}
    done = script(*(argument.format(**places) for argument in arguments), **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "error" not in "".join(done.stderr.splitlines()[:-1])
