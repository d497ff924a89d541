"""The loop over steps, with a stand-in for Python that writes down what it is asked to run."""

import json
import sys
import threading
from pathlib import Path

import pytest

from curr_reft.curriculum.nodes import Nodes
from curr_reft.curriculum.plan import print_plans
from curr_reft.curriculum.program import run_curriculum
from curr_reft.curriculum.status import status
from curr_reft.errors import CommandError, InputError, StoppedError
from curr_reft.files.journal import sole_writer
from curr_reft.files.manifest import read_manifest

STAND_IN = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
place = pathlib.Path({folder!r})
with (place / "asked").open("a") as file:
    file.write(json.dumps(words) + "\\n")
if "--dry_run" in words:
    print("planned from", words[words.index("--model_name_or_path") + 1])
    sys.exit()
output = pathlib.Path(words[words.index("--output_dir") + 1])
if (place / "fails").exists():
    print("error: it cannot be")
    sys.exit(int((place / "fails").read_text()))
output.mkdir(parents=True, exist_ok=True)
number = sum(1 for _ in (place / "asked").open())
day = "2026-01-01T00:00"
manifest = {{"status": "finished", "started": day + ":00+00:00", "ended": day + f":{{number:02}}+00:00"}}
(output / "manifest.json").write_text(json.dumps(manifest))
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What was started, as lists of words; `asked.fails(code)` lets the next ones fail."""
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, folder=str(tmp_path)))
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))

    class Asked:
        def __call__(self) -> list[list[str]]:
            path = tmp_path / "asked"
            lines = path.read_text().splitlines() if path.exists() else []
            path.unlink(missing_ok=True)
            return [json.loads(line) for line in lines]

        def fails(self, code: int | None) -> None:
            (tmp_path / "fails").unlink(missing_ok=True)
            if code is not None:
                (tmp_path / "fails").write_text(str(code))

    return Asked()


def run(curriculum, **options):
    run_curriculum(curriculum, curriculum.steps, Nodes(), **options)


def states(curriculum) -> list[str]:
    return [row[1] for row in status(curriculum.output_dir).rows]


def value(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_each_step_starts_from_the_one_before_and_finished_ones_are_passed_over(loaded, asked, tiny_base):
    curriculum = loaded(["judge", "choice"])
    run(curriculum)
    judge, choice = asked()
    assert value(judge, "--model_name_or_path") == str(tiny_base)
    assert value(choice, "--model_name_or_path") == value(judge, "--output_dir")
    assert judge[judge.index("train_code/grpo/stage.py") + 1] == "stage1_judge"
    run(curriculum)
    assert asked() == []
    assert states(curriculum) == ["finished", "finished"]


def test_settings_are_written_for_the_step_as_a_file(loaded, asked):
    run(loaded([{"run": "judge", "flags": {"learning_rate": 1e-7}}]))
    settings = value(asked()[0], "--config")
    assert "learning_rate: 1.0e-07" in Path(settings).read_text()


def test_a_step_that_fails_ends_with_its_code_and_goes_on_when_started_again(loaded, asked):
    curriculum = loaded(["judge", "choice"])
    asked.fails(2)
    with pytest.raises(
        InputError, match=r"stage1_judge ended with exit code 2; what it printed is in .*log.txt"
    ):
        run(curriculum)
    assert states(curriculum) == ["failed", "waiting"]
    assert "it cannot be" in (curriculum.records / "stage1_judge/log.txt").read_text()
    assert "exit code 2" in status(curriculum.output_dir).title
    asked.fails(75)
    with pytest.raises(StoppedError):
        run(curriculum)
    assert states(curriculum) == ["stopped", "waiting"]
    asked.fails(9)
    with pytest.raises(CommandError) as error:
        run(curriculum)
    assert error.value.exit_code == 9
    asked.fails(None)
    run(curriculum)
    assert states(curriculum) == ["finished", "finished"]
    assert len(read_manifest(curriculum.records / "stage1_judge")["earlier_starts"]) == 3


def test_changed_settings_are_shown_and_stop_until_they_are_accepted(loaded, asked):
    run(loaded(["judge", "choice"]))
    asked()
    changed = loaded([{"run": "judge", "flags": {"max_steps": 3, "logging_steps": 9}}, "choice"])
    with pytest.raises(InputError) as error:
        run(changed)
    assert "stage1_judge: max_steps 3 instead of 25; give" in str(error.value)
    run(changed, accept_changes=True)
    assert asked() == []
    # The manifest repeats what was done, and not what was asked for later.
    (judge, _) = read_manifest(changed.records)["config"]["steps"]
    assert judge["flags"]["max_steps"] == 25
    # What changes no weights stops nothing, nor does another spelling.
    run(loaded([{"run": "judge", "flags": {"logging_steps": 9, "learning_rate": "3e-5"}}, "choice"]))


def test_a_value_that_a_step_failed_on_may_be_corrected(loaded, asked):
    asked.fails(2)
    with pytest.raises(InputError):
        run(loaded([{"run": "judge", "flags": {"num_generations": 1}}]))
    asked.fails(None)
    run(loaded([{"run": "judge", "flags": {"num_generations": 2}}]))


def test_a_part_that_is_run_does_not_make_the_whole_finished(loaded, asked):
    curriculum = loaded(["judge", "choice"])
    run_curriculum(curriculum, curriculum.steps[:1], Nodes())
    record = read_manifest(curriculum.records)
    assert (record["status"], record["reason"]) == ("stopped", "stage2_choice was not asked for")
    changed = loaded(["judge", "choice"], {"max_steps": 9})
    with pytest.raises(InputError, match="stage1_judge: max_steps 9 instead of 25"):
        run_curriculum(changed, changed.steps[1:], Nodes())


def test_the_checkpoint_that_is_handed_on_is_the_one_that_is_scored(loaded, asked):
    scores = {"evaluation": {"config": "configs/eval/shapes.yaml"}}
    steps = ["judge", {"run": "choice", "checkpoint": 5}, "evaluation"]
    curriculum = loaded(steps, defaults=scores)
    (curriculum.folder("stage1_judge") / "checkpoint-5").mkdir(parents=True)
    run(curriculum)
    scored = [value(words, "--model") for words in asked() if "eval/evaluate.py" in words]
    assert [Path(place).name for place in scored[1:]] == ["checkpoint-5", "stage2_choice"]


def test_a_step_trained_again_makes_others_of_those_that_came_of_it(loaded, asked):
    curriculum = loaded(["judge", "choice"])
    run(curriculum)
    (curriculum.folder("stage1_judge") / "manifest.json").unlink()
    with pytest.raises(InputError, match="stage1_judge, which it started from, is not finished"):
        run(curriculum)
    run(loaded(["judge"]))
    with pytest.raises(InputError, match=r"stage2_choice: stage1_judge was done again"):
        run(curriculum)


def test_evaluation_is_done_again_when_there_is_more_to_score(loaded, asked):
    scores = {"evaluation": {"config": "configs/eval/shapes.yaml"}}
    run(loaded(["judge", "evaluation", "report"], defaults=scores))
    asked()
    curriculum = loaded(["judge", "choice", "evaluation", "report"], defaults=scores)
    run(curriculum)
    started = asked()
    scored = [value(words, "--model") for words in started if "eval/evaluate.py" in words]
    assert scored[1:] == [str(curriculum.folder(name)) for name in ("stage1_judge", "stage2_choice")]
    assert any(f"stage2_choice={curriculum.folder('evaluation')}/stage2_choice" in words for words in started)


def test_a_stage_that_another_command_trained_is_taken(loaded, asked):
    curriculum = loaded(["judge", "choice"])
    folder = curriculum.folder("stage1_judge")
    folder.mkdir(parents=True)
    times = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T01:00:00+00:00"}
    (folder / "manifest.json").write_text(json.dumps({"status": "finished", **times}))
    run(curriculum)
    assert len(asked()) == 1
    assert status(curriculum.output_dir).rows[0][-1] == "took 1:00:00"


def test_rejection_sampling_samples_judges_and_selects_for_fine_tuning(loaded, asked):
    sampling = {
        "run": "rejection_sampling",
        "config": "configs/self_improvement/shapes.yaml",
        "flags": {"max_new_tokens": 80, "seed": 3},
        "judge": {"judge": "rule"},
    }
    curriculum = loaded([sampling, "reject_sft"])
    run(curriculum)
    sample, judge, select, tune = asked()
    assert value(sample, "--max_new_tokens") == "80"
    assert value(judge, "--judge") == "rule"
    assert value(select, "--seed") == "3"
    assert value(tune, "--dataset") == value(select, "--output")


def test_a_dry_run_plans_every_step_and_writes_nothing(loaded, asked, tiny_base, capfd):
    rows = {"run": "gold_rows", "config": "configs/data/others/shapes.yaml", "flags": {"stage": "open"}}
    steps = ["judge", "choice", rows, "normal_sft", {"run": "evaluation", "of": "choice"}]
    curriculum = loaded(steps, defaults={"evaluation": {"config": "configs/eval/shapes.yaml"}})
    print_plans(curriculum, curriculum.steps, Nodes())
    said = capfd.readouterr().out
    assert said.count(f"planned from {tiny_base}") == 2
    assert "== 2/5 stage2_choice: waiting, from stage1_judge (last); planned with" in said
    assert "is written by gold_rows, which has not run: its plan has to wait" in said
    assert f"--model {curriculum.folder('stage2_choice')}" in said
    assert "suites: detection_in, classify_in" in said
    assert not curriculum.output_dir.exists()
    run_curriculum(curriculum, curriculum.steps[:1], Nodes())
    print_plans(curriculum, curriculum.steps[:2], Nodes())
    said = capfd.readouterr().out
    assert "== 1/2 stage1_judge: finished in 0:00:0" in said
    assert f"planned from {curriculum.folder('stage1_judge')}" in said


def test_two_at_a_time_are_refused(loaded, asked):
    curriculum = loaded(["judge"])
    with sole_writer(curriculum.records), pytest.raises(InputError, match="another command is writing there"):
        run(curriculum)
    assert asked() == []


def test_the_manifest_repeats_the_run(loaded, asked, written):
    from curr_reft.curriculum.steps import load_curriculum

    curriculum = loaded(["judge", {"run": "choice", "from": "base"}], {"max_steps": "4"})
    run(curriculum)
    first = asked()
    elsewhere = str(curriculum.output_dir.with_name("again"))
    again = load_curriculum(curriculum.records / "manifest.json", {"output_dir": elsewhere}, {})
    run(again)
    moved = json.loads(json.dumps(first).replace(str(curriculum.output_dir), elsewhere))
    # The names that trackers show are after the folder.
    assert [[word for word in words if "-stage" not in word] for words in asked()] == [
        [word for word in words if "-stage" not in word] for words in moved
    ]


def test_status_reads_while_it_is_written(loaded, asked):
    curriculum = loaded(["judge"])
    run(curriculum)
    manifest = curriculum.folder("stage1_judge") / "manifest.json"
    log = curriculum.folder("stage1_judge") / "log.jsonl"
    manifest.write_text(json.dumps({"status": "running"}))
    record = read_manifest(curriculum.records / "stage1_judge")
    (curriculum.records / "stage1_judge/manifest.json").write_text(
        json.dumps({**record, "status": "running"})
    )
    entry = {"reward": 1.5, "accuracy/math": 0.25, "kl": 0.1, "step_time": 2.0, "step": 5, "max_steps": 20}
    log.write_text(json.dumps(entry) + "\n" + '{"reward": 1.7, "st')
    (row,) = status(curriculum.output_dir).rows
    # Nothing holds it, so what says that it runs was killed.
    assert row[:5] == ["stage1_judge", "killed", "5/20", "1.5", "math 0.25"]
    held, asked_for = threading.Event(), threading.Event()

    def hold():
        with sole_writer(curriculum.records):
            held.set()
            asked_for.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    (row,) = status(curriculum.output_dir).rows
    asked_for.set()
    thread.join()
    assert (row[1], row[-1]) == ("running", "0:00:30 left")


def test_no_curriculum_no_status(tmp_path):
    with pytest.raises(InputError, match="holds no curriculum"):
        status(tmp_path)
