"""ms-swift itself: it takes our flags, counts tokens as we do, and what it saves is scored as it is."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from curr_reft.evaluation.evaluate import main as evaluate
from curr_reft.files.manifest import read_manifest
from curr_reft.sft.check import check_file
from curr_reft.sft.flags import arguments, parse_command_line, read_config, translate
from curr_reft.sft.from_rows import main as from_rows
from curr_reft.sft.messages import READ_BY_SWIFT, message_row
from curr_reft.sft.training import run_sft

ROOT = Path(__file__).resolve().parents[2]
SWIFT = ROOT / ".venv-sft/bin/swift"
MAX_PIXELS_FLAG = 3_000
OURS = ("held_out_suites", "data_root", "resumable_checkpoints")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not SWIFT.exists(), reason="no .venv-sft: scripts/setup.sh makes it"),
]


@pytest.fixture(scope="module")
def rows(world, tmp_path_factory) -> Path:
    """Seven rows of the embedded world and one of text alone."""
    folder = tmp_path_factory.mktemp("messages")
    mixture = ROOT / "configs/data/others/shapes.yaml"
    path = folder / "rows.jsonl"
    from_rows([str(mixture), "--image_root", str(world), "--stage", "open", "--output", str(path)])
    lines = path.read_text().splitlines()[::5][:7]
    lines.append(json.dumps(message_row("What is 2 + 3?", "<think>2 + 3</think><answer>5</answer>", None)))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run_flags(rows, tiny_base):
    def flags(output: Path, dataset: Path = rows) -> list[str]:
        return [
            *("--config", "configs/tiny/reject_sft.yaml", "--model", str(tiny_base)),
            *("--dataset", str(dataset)),
            *("--output_dir", str(output), "--max_steps", "2", "--logging_steps", "1"),
            *("--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--warmup_ratio", "0"),
        ]

    return flags


def final_flags(argv: list[str]) -> list[str]:
    given = parse_command_line(argv)
    config, _ = read_config(ROOT / given.pop("config")[0])
    flags, _ = translate(config, given)
    return arguments({name: values for name, values in flags.items() if name not in OURS})


@pytest.fixture(scope="module")
def said(rows, run_flags, tmp_path_factory):
    """What ms-swift answers to `asked_of_swift.py`."""
    folder = tmp_path_factory.mktemp("asked")
    row = json.loads(rows.read_text().splitlines()[0])
    bad = folder / "bad.jsonl"
    bad.write_text(json.dumps({**row, "images": [str(folder / "gone.png")]}) + "\n" + rows.read_text())
    configs = sorted(ROOT.glob("configs/*/*_sft.yaml"))
    asked = {
        "flags": {str(path.relative_to(ROOT)): final_flags(["--config", str(path)]) for path in configs},
        "rows": str(rows),
        "max_pixels": MAX_PIXELS_FLAG,
        "run": final_flags(run_flags(folder / "run")),
        "run_without_an_image": final_flags(run_flags(folder / "bad", bad)),
    }
    (folder / "questions.json").write_text(json.dumps(asked))
    command = [SWIFT.parent / "python", ROOT / "tests/sft/asked_of_swift.py"]
    with (folder / "output").open("w") as output:
        done = subprocess.run(
            [*command, folder / "questions.json", folder / "answers.json"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MAX_PIXELS": "200704"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    assert done.returncode == 0, (folder / "output").read_text()[-2000:]
    return json.loads((folder / "answers.json").read_text())


def test_swift_takes_every_flag_of_the_configurations(said):
    assert len(said["unknown"]) == 6
    assert set(map(tuple, said["unknown"].values())) == {()}


def test_tokens_are_counted_as_swift_does(said, rows, tiny_base):
    checked = check_file(
        rows, model=str(tiny_base), system="You are a helpful assistant.", max_pixels=200_704
    )
    assert list(checked.tokens) == said["lengths"]
    system = "You are a helpful assistant."
    checked = check_file(
        rows, model=str(tiny_base), system=system, max_pixels=200_704, rescaled_to=MAX_PIXELS_FLAG
    )
    assert list(checked.tokens) == said["shrunk_lengths"] != said["lengths"]


def test_swift_would_fail_on_a_missing_image_and_not_replace_it(said):
    assert said["missing"].startswith("FileNotFoundError")


def test_tags_and_keys_are_those_that_swift_reads(said):
    for tag in said["tags"]:
        with pytest.raises(Exception, match=r"contains|tags"):
            message_row(f"a {tag} b", "c", None)
    plain = {key for key in said["keys"] if not key.startswith(("rejected_", "positive_", "negative_"))}
    assert plain - {"messages", "images"} <= READ_BY_SWIFT | {"omnijev_column_keys", "omnijev_video"}
    assert said["default_system"] == "You are a helpful assistant."


def test_a_run_is_scored_as_it_lies_there(rows, run_flags, world, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    output = tmp_path / "reject_sft"
    suites = ["--held_out_suites", "configs/eval/shapes.yaml", "--data_root", str(world)]
    run_sft("reject_sft", [*run_flags(output), *suites])
    record = read_manifest(output)
    assert record["status"] == "finished"
    assert record["results"]["global_step"] == 2
    assert record["sft_environment"]["transformers"] == record["packages"]["transformers"]
    first, second = (
        json.loads(line)["loss"] for line in (output / "logging.jsonl").read_text().splitlines()[:2]
    )
    assert first != second
    evaluate(
        [
            *("--model", str(output), "--suites", "in", "--suites_config", "configs/eval/shapes.yaml"),
            *("--data_root", str(world), "--output_dir", str(tmp_path / "scores")),
            *("--sample_num", "2", "--max_new_tokens", "8"),
        ]
    )
    scored = {path.parent.name for path in (tmp_path / "scores").glob("*/scores.json")}
    assert scored == {"checkpoint-2", "final"}
