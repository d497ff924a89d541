"""The evaluator on the tiny base and the small world."""

import json
import shutil

import pytest

from curr_reft.errors import InputError
from curr_reft.evaluation.evaluate import main, recorded_box_frame
from curr_reft.manifest import write_manifest


@pytest.mark.slow
def test_evaluation_does_not_depend_on_the_batch_and_writes_scores(world, tiny_base, root, tmp_path):
    for size in ("1", "16"):
        main(
            [
                *(
                    "--model",
                    str(tiny_base),
                    "--suites",
                    str(root / "configs/eval/shapes.yaml"),
                    "--data_root",
                    str(world),
                ),
                *("--output_dir", str(tmp_path / size), "--batch_size", size, "--max_new_tokens", "64"),
            ]
        )
    record = json.loads((tmp_path / "16/scores.json").read_text())
    assert {score["n"] for score in record["scores"].values()} == {3}
    for name, score in record["scores"].items():
        rows = [json.loads(line) for line in (tmp_path / f"16/{name}.jsonl").read_text().splitlines()]
        assert sum(row["strict"] for row in rows) == round(score["accuracy"] * score["n"])
        assert rows == [json.loads(line) for line in (tmp_path / f"1/{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--model", "./nowhere", "no such directory"),
        ("--suites", "nowhere.yaml", "nowhere.yaml: cannot be read"),
        ("--data_root", "./nowhere", "--data_root nowhere: no such directory"),
    ],
)
def test_bad_input_is_one_line(flag, value, message, world, tiny_base, root, tmp_path, capsys):
    flags = {
        "--model": str(tiny_base),
        "--suites": str(root / "configs/eval/shapes.yaml"),
        "--data_root": str(world),
        "--output_dir": str(tmp_path),
        flag: value,
    }
    with pytest.raises(SystemExit) as caught:
        main([part for item in flags.items() for part in item])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_box_frame_of_the_training_run_is_used(tmp_path):
    assert recorded_box_frame(str(tmp_path)) is None
    assert recorded_box_frame("someone/on-the-hub") is None
    write_manifest(tmp_path, {"config": {"box_frame": "processed"}})
    (tmp_path / "checkpoint-7").mkdir()
    assert (
        recorded_box_frame(str(tmp_path)) == recorded_box_frame(str(tmp_path / "checkpoint-7")) == "processed"
    )
    assert recorded_box_frame(str(tmp_path / "other")) is None


def test_evaluation_records_its_box_frame(world, tiny_base, root, tmp_path, monkeypatch):
    frames = []

    def stop(*arguments):
        frames.append(arguments[-1])
        raise InputError("far enough")

    monkeypatch.setattr("curr_reft.evaluation.evaluate.build_split", stop)
    model = tmp_path / "model"
    shutil.copytree(tiny_base, model)
    write_manifest(model, {"config": {"box_frame": "processed"}})
    flags = ["--suites", str(root / "configs/eval/shapes.yaml"), "--data_root", str(world)]
    for more in ([], ["--box_frame", "budget"]):
        with pytest.raises(SystemExit):
            main(["--model", str(model), *flags, "--output_dir", str(tmp_path / "out"), *more])
    assert frames == ["processed", "budget"]
