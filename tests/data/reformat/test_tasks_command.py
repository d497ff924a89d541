import json
import os
import random
import subprocess
import sys

import pytest
from PIL import Image

from curr_reft.data.reformat.__main__ import main
from curr_reft.data.schema import read_examples

LABELS = ["person", "Car", "dog", "traffic light", "cup", "tv", "kite"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("open")
    for number in range(4):
        Image.new("RGB", (64 + 16 * number, 48)).save(root / f"{number}.png")
    rng = random.Random(1)
    lines = []
    for number in range(60):
        x, y = rng.randint(0, 40), rng.randint(0, 30)
        task, answer = [
            ("detection", f"[{x}, {y}, {x + rng.randint(4, 24)}, {y + rng.randint(4, 18)}]"),
            ("classification", json.dumps(rng.sample(LABELS, rng.randint(1, 3)))),
            ("math", rng.choice([str(x), f"{y}\\sqrt{{3}}", "yes", "B"])),
        ][number % 3]
        problem = f"What about {number}?\n(A) 1\n(B) 2\n(C) 3"
        row = {"problem": problem, "solution": f"<answer>{answer}</answer>", "task": task}
        lines.append(json.dumps({**row, "image": [f"{number % 4}.png"]}))
    (root / "rows.jsonl").write_text("\n".join(lines))
    return root


def run(root, *flags):
    main([str(root / "rows.jsonl"), "--image_root", str(root), *map(str, flags)])


def test_both_files_can_be_read_again(root, tmp_path):
    run(root, "--judge", tmp_path / "judge.jsonl", "--choice", tmp_path / "choice.json", "--drop_bad_rows")
    for name in ("judge.jsonl", "choice.json"):
        examples = read_examples(tmp_path / name, root)
        assert {example.task for example in examples} == {"detection", "classify", "math"}
        assert all(example.image.exists() for example in examples)


def test_same_rows_and_seed_give_same_bytes_in_any_process(root, tmp_path):
    flags = [str(root / "rows.jsonl"), "--image_root", str(root), "--drop_bad_rows", "--seed", "7"]
    for hash_seed in ("0", "1"):
        folder = tmp_path / hash_seed
        command = [sys.executable, "-m", "curr_reft.data.reformat", *flags]
        outputs = ["--judge", str(folder / "judge.jsonl"), "--choice", str(folder / "choice.jsonl")]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([*command, *outputs], check=True, capture_output=True, env=environment)
    run(root, "--choice", tmp_path / "other.jsonl", "--drop_bad_rows", "--seed", "8")
    for name in ("judge.jsonl", "choice.jsonl"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert (tmp_path / "other.jsonl").read_bytes() != (tmp_path / "0" / "choice.jsonl").read_bytes()


def test_a_file_may_take_the_place_of_its_rows(root, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes((root / "rows.jsonl").read_bytes())
    main([str(path), "--image_root", str(root), "--judge", str(path)])
    assert "Is the answer" in read_examples(path, root)[0].problem


ROW = {"problem": "What?", "solution": "<answer>[1, 1, 9, 9]</answer>", "task": "detection", "image": "0.png"}


@pytest.mark.parametrize(
    ("row", "flags", "message"),
    [
        (ROW, [], "--judge FILE or --choice FILE: say what to write"),
        (ROW, ["--judge", "x.jsonl", "--choice", "./x.jsonl"], "--judge and --choice would go to one file"),
        (ROW, ["--judge", "x.csv"], "x.csv: name it .jsonl"),
        (ROW, ["--judge", "rows.jsonl/x.jsonl"], "rows.jsonl/x.jsonl: cannot be written ("),
        (ROW, ["--jud", "x.jsonl"], "unrecognized arguments"),
        ({**ROW, "task": "dance"}, ["--judge", "x.jsonl"], "rows.jsonl:1: task: unknown task"),
        ({**ROW, "image": "../0.png"}, ["--judge", "x.jsonl"], "is not below the image root"),
        ({**ROW, "image": "9.png"}, ["--judge", "x.jsonl"], "9.png: no such file"),
        (
            {**ROW, "solution": "<answer>[0, 0, 9, 1099]</answer>"},
            ["--judge", "x.jsonl"],
            "1 of 1 records are bad",
        ),
        (
            {**ROW, "solution": "<answer>[0, 0, 9, 999]</answer>"},
            ["--judge", "x.jsonl", "--drop_bad_rows"],
            "rows.jsonl: 1 of 1 gold boxes leave their images, first rows.jsonl:1: they look normalised",
        ),
        (
            {**ROW, "solution": "<answer>No Objects</answer>"},
            ["--choice", "x.jsonl", "--drop_bad_rows"],
            "x.jsonl: not written: no row is left",
        ),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(root, tmp_path, monkeypatch, refused, row, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    assert (
        message in refused(lambda: main(["rows.jsonl", "--image_root", str(root), *flags])).splitlines()[-1]
    )
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_bad_image_makes_bad_records(root, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    rows = [ROW, {**ROW, "image": "9.png"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = ["rows.jsonl", "--image_root", str(root), "--judge", "x.jsonl"]
    with pytest.raises(SystemExit):
        main(flags)
    assert "rows.jsonl:2: image: its image cannot be used" in caplog.messages
    main([*flags, "--drop_bad_rows"])
    assert len(read_examples(tmp_path / "x.jsonl", root)) == 2
