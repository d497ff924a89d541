"""Runs of supervised fine-tuning with a stand-in for ms-swift: plans, records, going on, failures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from training_checkpoints import write_checkpoint

from curr_reft.errors import InputError
from curr_reft.files.journal import sole_writer
from curr_reft.files.manifest import read_manifest
from curr_reft.lifetime import ONE_SIGNAL_SECONDS
from curr_reft.models.checkpoints import find_checkpoints, recorded_box_frame
from curr_reft.sft import swift as swift_module
from curr_reft.sft.plan import prepare
from curr_reft.sft.swift import find_swift, versions_beside
from curr_reft.sft.training import run_sft

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(ROOT.glob("configs/*/*_sft.yaml"))
SCRIPTS = [*sorted(ROOT.glob("scripts/qwen*/*_sft.sh"))]


def fails(capsys, *argv, code=2) -> str:
    with pytest.raises(SystemExit) as end:
        run_sft("reject_sft", argv)
    assert end.value.code == code
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    return error


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_configurations_plan(path, swift, sft_flags, capsys, monkeypatch):
    swift(versions={"ms-swift": "4.6.0"})
    monkeypatch.chdir(ROOT)
    run_sft(path.stem, ["--config", str(path), *sft_flags(), "--dry_run"])
    text = capsys.readouterr().out
    command = text.splitlines()[-1]
    assert "MAX_PIXELS=" in command
    assert "/swift sft " in command
    assert "--strict true --add_version false" in command
    assert "--held_out_suites" not in command
    if path.stem == "normal_sft" and "tiny" not in str(path):
        assert "note: --attn_impl flash_attn: flash-attn is not installed" in text
        assert "held-out suite not compared" in text


def test_the_released_settings():
    reject, normal = (
        yaml.safe_load((ROOT / f"configs/qwen2_5_vl_3b/{name}_sft.yaml").read_text())
        for name in ("reject", "normal")
    )
    assert {
        name: reject[name] for name in ("max_steps", "learning_rate", "freeze_vit", "freeze_aligner")
    } == {"max_steps": 2000, "learning_rate": 2e-7, "freeze_vit": False, "freeze_aligner": True}
    differing = {name for name in reject.keys() | normal.keys() if reject.get(name) != normal.get(name)}
    assert differing == {
        *("model", "dataset", "output_dir"),
        *("max_steps", "learning_rate", "freeze_vit", "attn_impl"),
    }
    assert (normal["max_steps"], normal["learning_rate"], normal["freeze_vit"]) == (2100, 1e-6, True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_scripts_start_a_run_that_plans(script, swift, tiny_base, rows_file, tmp_path, capsys, monkeypatch):
    folder = swift()
    stub = tmp_path / "bin/python"
    stub.parent.mkdir()
    stub.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"; env >&2\n')
    stub.chmod(0o755)
    nodes = {} if "3b" in str(script) else {"MASTER_ADDR": "node0", "NODE_RANK": "1"}
    rows = str(rows_file())
    started = subprocess.run(
        ["bash", script, "--dry_run"],
        env={
            **os.environ,
            "VIRTUAL_ENV": "x",
            "PATH": f"{stub.parent}:{os.environ['PATH']}",
            "SWIFT": f"{folder}/swift",
            "MODEL": str(tiny_base),
            "DATA": rows,
            "OUTPUT": str(tmp_path / "out"),
            **nodes,
        },
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0
    name, *flags = started.stdout.splitlines()
    environment = started.stderr.splitlines()
    assert name == f"train_code/sft/{script.stem}.py"
    assert "NPROC_PER_NODE=8" in environment
    assert any(line.startswith("ROOT_IMAGE_DIR=/") for line in environment)
    assert ("MASTER_PORT=12347" in environment) == bool(nodes)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NPROC_PER_NODE", "8")
    if nodes:
        monkeypatch.setenv("NNODES", "2")
    run_sft(script.stem, flags)
    text = capsys.readouterr().out
    assert f"{64 if nodes else 32} rows per optimizer step" in text
    assert f"--output_dir {tmp_path}/out/{script.stem} " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage: scripts/sft.sh SIZE RUN"),
        (("tiny", "sft"), "unknown run 'sft'"),
        (("huge", "reject_sft"), "no configuration configs/huge/reject_sft.yaml"),
    ],
)
def test_the_script_says_what_is_wrong(arguments, message):
    result = subprocess.run(["bash", ROOT / "scripts/sft.sh", *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_run_leaves_what_evaluation_needs(swift, sft_flags, tmp_path, tiny_base):
    folder = swift()
    start = tmp_path / "stage3_open"
    start.mkdir()
    for path in tiny_base.iterdir():
        (start / path.name).symlink_to(path)
    manifest = {"status": "finished", "config": {"box_frame": "processed"}}
    (start / "manifest.json").write_text(json.dumps(manifest))
    run_sft("reject_sft", sft_flags("--model", str(start), "--train_type", "full"))
    output = tmp_path / "run"
    record = read_manifest(output)
    assert record["status"] == "finished"
    assert record["stage"] == "reject_sft"
    assert record["config"]["tuner_type"] == "full"
    assert record["sft_environment"]["transformers"] == "5.17.0"
    assert record["data"][0]["rows"] == 2
    assert len(record["data"][0]["sha256"]) == 64
    assert record["results"] == {"global_step": 4, "checkpoint": "checkpoint-4"}
    for name in ("model.safetensors", "config.json", "trainer_state.json", "processor_config.json"):
        assert (output / name).samefile(output / "checkpoint-4" / name)
    assert not (output / "optimizer.pt").exists()
    assert "swift is here" in (output / "swift.log").read_text()
    arguments = (folder / "arguments").read_text()
    assert "--strict" in arguments
    assert "sft/run_ends.py\n--callbacks\nstop_on_signal\nkeep_state_of_newest\nend_on_loss\n" in arguments
    assert f"PATH={folder}:" in (folder / "environment").read_text()
    found = find_checkpoints(str(output), False, {})
    assert [checkpoint.name for checkpoint in found] == ["checkpoint-4", "final"]
    assert {recorded_box_frame(checkpoint) for checkpoint in found} == {"processed"}


def test_a_finished_run_is_refused(swift, sft_flags, capsys):
    swift()
    run_sft("reject_sft", sft_flags())
    capsys.readouterr()
    assert "holds a finished run" in fails(capsys, *sft_flags())


def test_a_failure_names_the_log_and_keeps_the_code(swift, sft_flags, capsys, tmp_path):
    swift(more="echo boom >&2; exit 7")
    error = fails(capsys, *sft_flags(), code=7)
    assert error.splitlines()[-1].startswith("error: swift ended with exit code 7")
    assert f"{tmp_path}/run/swift.log" in error
    assert "boom" in (tmp_path / "run/swift.log").read_text()
    assert read_manifest(tmp_path / "run")["status"] == "failed"


@pytest.fixture
def interrupted(swift, sft_flags, tmp_path, tiny_base, capsys):
    """Makes a run that was killed after two checkpoints of steps 4 and 6, the second half written."""

    def make(without: tuple[str, ...] = ()) -> Path:
        swift(more="exit 1")
        with pytest.raises(SystemExit):
            run_sft("reject_sft", sft_flags())
        output = tmp_path / "run"
        write_checkpoint(output, tiny_base, 4, without=without)
        (output / "checkpoint-6").mkdir()
        lines = [{"loss": 1, "global_step/max_steps": f"{step}/8"} for step in (2, 4, 6)]
        (output / "logging.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (output / "val_dataset.jsonl").write_text("{}\n")
        (swift() / "arguments").unlink()
        capsys.readouterr()
        return output

    return make


def test_an_interrupted_run_goes_on(interrupted, swift, sft_flags):
    output = interrupted()
    folder = swift()
    run_sft("reject_sft", sft_flags())
    arguments = (folder / "arguments").read_text().splitlines()
    assert arguments[arguments.index("--resume_from_checkpoint") + 1] == str(output / "checkpoint-4")
    # Swift would not find one weight of its own model in the file, and go on from the base.
    assert arguments[arguments.index("--model") + 1] == str(output / "checkpoint-4")
    assert not (output / "checkpoint-6").exists()
    assert not (output / "val_dataset.jsonl").exists()
    assert [json.loads(line)["global_step/max_steps"] for line in (output / "logging.jsonl").open()] == [
        "2/8",
        "4/8",
    ]
    record = read_manifest(output)
    assert record["resumed_from"] == str(output / "checkpoint-4")
    assert len(record["earlier_starts"]) == 1


def test_a_whole_checkpoint_is_never_removed(interrupted, swift, sft_flags, tiny_base):
    output = interrupted()
    write_checkpoint(output, tiny_base, 7, without=("rng_state.pth",))
    run_sft("reject_sft", sft_flags())
    assert (output / "earlier-start-1/checkpoint-7").is_dir()
    assert not (output / "checkpoint-6").exists()


def test_weights_alone_are_kept_aside_and_the_run_begins_again(interrupted, swift, sft_flags, caplog):
    output = interrupted(without=("optimizer.pt",))
    folder = swift()
    run_sft("reject_sft", sft_flags())
    assert "--resume_from_checkpoint" not in (folder / "arguments").read_text()
    assert (output / "earlier-start-1/checkpoint-4/model.safetensors").exists()
    assert "checkpoint-4 cannot be gone on from: it holds weights only" in caplog.text
    assert "checkpoint-4, whose steps are done again, now in earlier-start-1" in caplog.text
    assert read_manifest(output)["status"] == "finished"


def test_one_that_was_killed_before_it_saved_starts_over(swift, sft_flags, tmp_path):
    folder = swift(more="exit 1")
    with pytest.raises(SystemExit):
        run_sft("reject_sft", sft_flags())
    output = tmp_path / "run"
    (output / "logging.jsonl").write_text("{}\n")
    swift()
    run_sft("reject_sft", sft_flags("--learning_rate", "1e-9"))
    assert "--resume_from_checkpoint" not in (folder / "arguments").read_text()
    assert not (output / "logging.jsonl").exists()
    assert read_manifest(output)["status"] == "finished"


def test_a_start_that_the_user_names_removes_nothing(interrupted, swift, sft_flags):
    output = interrupted(without=("optimizer.pt",))
    folder = swift()
    named = ["--resume_from_checkpoint", str(output / "checkpoint-4"), "--resume_only_model", "true"]
    run_sft("reject_sft", sft_flags(*named, "--learning_rate", "1e-9", "--accept_changes"))
    assert (folder / "arguments").read_text().count("--resume_from_checkpoint") == 1
    assert (output / "checkpoint-6").is_dir()
    assert (output / "val_dataset.jsonl").exists()
    assert len((output / "logging.jsonl").read_text().splitlines()) == 3
    record = read_manifest(output)
    assert record["resumed_from"] == str(output / "checkpoint-4")
    assert record["accepted_changes"] == {"learning_rate": [None, "1e-9"]}


@pytest.mark.parametrize(
    ("name", "without", "said"),
    [
        ("checkpoint-4", ("optimizer.pt",), "it holds weights only"),
        ("checkpoint-4", ("model.safetensors",), "its weights "),
        ("checkpoint-6", (), "trainer_state.json is missing or broken"),
        ("checkpoint-5", (), "no such directory"),
    ],
)
def test_a_start_that_the_user_names_must_be_one(name, without, said, interrupted, sft_flags, capsys):
    checkpoint = interrupted(without=without) / name
    error = fails(capsys, *sft_flags("--resume_from_checkpoint", str(checkpoint)))
    assert error.startswith(f"error: --resume_from_checkpoint {checkpoint}: {said}")


def test_a_run_killed_after_its_last_step_is_only_finished(
    interrupted, swift, sft_flags, tiny_base, capsys, tmp_path
):
    output = interrupted()
    shutil.rmtree(output / "checkpoint-6")
    write_checkpoint(output, tiny_base, 6, max_steps=6, without=("optimizer.pt",))
    run_sft("reject_sft", sft_flags("--dry_run"))
    assert "swift is not started" in capsys.readouterr().out
    run_sft("reject_sft", sft_flags())
    assert not (swift() / "arguments").exists()
    record = read_manifest(output)
    assert record["status"] == "finished"
    assert record["results"] == {"global_step": 6, "checkpoint": "checkpoint-6"}
    assert (output / "model.safetensors").samefile(output / "checkpoint-6/model.safetensors")
    assert (output / "checkpoint-4").is_dir()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--learning_rate", "1e-9"), "learning_rate 1e-9 instead of not set"),
        (("--freeze_vit", "false"), "freeze_vit false instead of not set"),
    ],
)
def test_other_flags_are_another_run(flags, message, interrupted, swift, sft_flags, capsys):
    output = interrupted()
    error = fails(capsys, *sft_flags(*flags))
    assert message in error
    assert "--accept_changes" in error
    run_sft("reject_sft", sft_flags(*flags, "--accept_changes"))
    assert read_manifest(output)["accepted_changes"] == {flags[0].strip("-"): [None, flags[1]]}


def test_other_images_are_another_run(interrupted, sft_flags, capsys, monkeypatch):
    interrupted()
    monkeypatch.setenv("MAX_PIXELS", "3136")
    assert "MAX_PIXELS 3136 instead of not set" in fails(capsys, *sft_flags())


def test_other_rows_are_another_run(interrupted, sft_flags, rows_file, capsys):
    interrupted()
    assert "other rows of data" in fails(capsys, *sft_flags("--dataset", f"{rows_file()}#1"))
    other = rows_file(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        name="o.jsonl",
    )
    assert "other rows of data" in fails(capsys, *sft_flags("--dataset", str(other)))


def test_two_runs_do_not_share_a_directory(swift, sft_flags, tmp_path, capsys, monkeypatch):
    folder = swift()
    run_sft("reject_sft", sft_flags("--dry_run"))
    assert not (tmp_path / "run").exists()
    with sole_writer(tmp_path / "run"):
        assert "another command is writing there" in fails(capsys, *sft_flags())
        assert not (folder / "arguments").exists()
        run_sft("reject_sft", sft_flags("--dry_run"))
        assert list((tmp_path / "run").iterdir()) == []
        # Other nodes work in the first one's directory.
        monkeypatch.setenv("NODE_RANK", "1")
        run_sft("reject_sft", sft_flags())


def test_the_lock_covers_the_training(swift, sft_flags, tmp_path):
    command = f"{sys.executable} -c \"import fcntl, os; fcntl.flock(os.open('{tmp_path}/run', 0), 6)\""
    swift(more=f"{command} 2>/dev/null && exit 9")
    run_sft("reject_sft", sft_flags())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--strict", "false"), "always true here"),
        (("--dataset", "gone.jsonl"), "--dataset gone.jsonl: no such file"),
        (("--dataset",), "--dataset: expected the path"),
        (("--model", "./gone"), "--model ./gone: no such directory"),
        (("--config", "gone.yaml"), "--config gone.yaml: cannot be read"),
        (("--max_length", "long"), "--max_length long: expected one number"),
        (("--output_dir",), "--output_dir: expected one value"),
        (("--held_out_suites",), "--held_out_suites: expected one value"),
        (("--data_root",), "--data_root: expected one value"),
        (("--per_device_train_batch_size", "0"), "--per_device_train_batch_size 0: expected one number of 1"),
        (("--per_device_train_batch_size", "-1"), "expected one number of 1 or more"),
        (("--gradient_accumulation_steps", "0"), "expected one number of 1 or more"),
        (("--max_steps", "nan"), "--max_steps nan: expected one number"),
        (("--max_steps", "-1", "--num_train_epochs", "inf"), "--num_train_epochs inf: expected one number"),
        (("--max_length", "nan"), "--max_length nan: expected one number"),
        (("--max_length", "-5"), "--max_length -5: expected one number of 1"),
        (("--max_pixels", "0"), "--max_pixels 0: expected one number of 1"),
        (("--dataset", "rows.jsonl#all"), "expected a file, or FILE#N"),
    ],
)
def test_wrong_flags_start_nothing(flags, message, swift, sft_flags, capsys):
    folder = swift()
    assert message in fails(capsys, *sft_flags(*flags))
    assert not (folder / "arguments").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("NPROC_PER_NODE", "abc"), ("NPROC_PER_NODE", "0"), ("NNODES", ""), ("NODE_RANK", "-1")),
        *(("MAX_PIXELS", "0"), ("MAX_PIXELS", "1e5")),
    ],
)
def test_wrong_variables_start_nothing(name, value, swift, sft_flags, capsys, monkeypatch):
    folder = swift()
    monkeypatch.setenv(name, value)
    assert f"{name}={value}: expected a whole number" in fails(capsys, *sft_flags())
    assert not (folder / "arguments").exists()


def test_rows_of_all_training_files_are_counted(swift, sft_flags, rows_file, capsys):
    swift()
    more = ["--dataset", str(rows_file()), f"{rows_file()}#5", "--val_dataset", str(rows_file())]
    run_sft("reject_sft", sft_flags(*more, "--per_device_train_batch_size", "7", "--dry_run"))
    assert "4 steps see each of the 7 rows 12.0 times" in capsys.readouterr().out


def test_swifts_own_limit_of_pixels_counts(swift, sft_flags, image, capsys):
    swift()
    told = []
    # 84 x 56 pixels are 6 tokens, 3136 pixels are 2 (68 x 45).
    for flags in ((), ("--max_pixels", "3136")):
        run_sft("reject_sft", sft_flags(*flags, "--dry_run"))
        text = capsys.readouterr().out
        told.append(int(re.search(r"to (\d+) tokens", text)[1]))
        assert ("MAX_PIXELS is not set" in text) == (not flags)
    assert told[0] - told[1] == 2


def test_a_missing_image_starts_nothing(swift, sft_flags, image, capsys, tmp_path):
    folder = swift()
    flags = sft_flags()
    image.unlink()
    assert f"rows.jsonl:1: {image}: no such file" in fails(capsys, *flags)
    assert not (folder / "arguments").exists()
    assert not (tmp_path / "run").exists()


def test_missing_swift_is_one_line_with_the_command(sft_flags, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(swift_module, "_ENVIRONMENT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "bash scripts/setup.sh" in fails(capsys, *sft_flags())
    run, dry_run = prepare("reject_sft", [*sft_flags(), "--dry_run"])
    assert dry_run
    assert "ms-swift is not installed" in run.unsupported[0]


@pytest.mark.parametrize(
    ("versions", "message"), [({"ms-swift": "3.2.0"}, "whose flags differ"), ({}, "not the one of ms-swift")]
)
def test_another_swift_is_refused(versions, message, swift):
    swift(versions=versions)
    with pytest.raises(InputError, match=message):
        versions_beside(find_swift())


def test_swift_is_found_where_it_is_named(swift, monkeypatch, tmp_path):
    folder = swift()
    assert find_swift() == folder / "swift"
    monkeypatch.setenv("SWIFT", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no such executable"):
        find_swift()
    monkeypatch.delenv("SWIFT")
    monkeypatch.setattr(swift_module, "_ENVIRONMENT", tmp_path)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert find_swift() == folder / "swift"


def alive(process: int) -> bool:
    """Whether a process runs; nobody may be there to collect one that has ended."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def training_swift(tmp_path):
    """A stand-in whose process below it, as swift's own, trains until a signal, which it obeys or not."""
    script = tmp_path / "swift/cli/sft.py"
    script.parent.mkdir(parents=True)

    def start(obeys: bool) -> tuple[subprocess.Popen, int]:
        handler = "lambda *_: sys.exit(75)" if obeys else "signal.SIG_IGN"
        script.write_text(
            "import os, pathlib, signal, sys, time\n"
            + f"for name in ('SIGINT', 'SIGTERM'): signal.signal(getattr(signal, name), {handler})\n"
            + f"pathlib.Path('{tmp_path}/trainer').write_text(str(os.getpid()))\n"
            + "print('ready', flush=True)\ntime.sleep(60)\n"
        )
        command = [sys.executable, "-c", f"import subprocess; subprocess.run(['python', '{script}'])"]
        code = (
            "import os, sys; from pathlib import Path; from curr_reft.sft.swift import run_swift;"
            f"print(*run_swift({command}, os.environ, Path('{tmp_path}/log')))"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        return process, int((tmp_path / "trainer").read_text())

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_what_trains(number, training_swift):
    process, trainer = training_swift(obeys=True)
    process.send_signal(number)
    assert process.communicate(timeout=20)[0].split()[-1] == str(int(number)) or process.returncode == 0
    assert not alive(trainer)


def test_one_more_signal_kills(training_swift):
    process, trainer = training_swift(obeys=False)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(ONE_SIGNAL_SECONDS)
    # As a scheduler does, who tells all processes: that was one.
    assert alive(trainer)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert not alive(trainer)
