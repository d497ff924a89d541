"""The command against a server that answers: what it asks, counts, writes and prints."""

import base64
import csv
import io
import json

import pytest
from PIL import Image

from curr_reft.boxes import rescale_boxes_in_text
from curr_reft.data.images import budget_size
from curr_reft.evaluation.pass_at_k.command import main
from curr_reft.evaluation.pass_at_k.estimator import pass_at_k
from curr_reft.files import journal
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of


def ids(rows: list[dict]) -> list[str]:
    return [row["id"] for row in rows]


def number(row: dict) -> int:
    return int(row["id"].rpartition("#")[2])


def test_it_asks_counts_and_writes(curves, flags, server, saved, record, tmp_path, capsys):
    main(flags())
    rows = saved()
    assert sorted(ids(rows)) == [f"rows.jsonl:{line}#{i}" for line in (1, 2, 3) for i in range(4)]
    assert sorted(row["model_output"] for row in rows) == sorted(server.replies)
    assert len(set(server.asked_seeds())) == 12
    right = [sum("<answer>A" in row["model_output"] for row in rows if f":{p}#" in row["id"]) for p in "123"]
    found = record()
    expected = {k: sum(pass_at_k(4, c, k) for c in right) / 3 for k in (1, 2, 4)}
    assert {point["k"]: point["pass_at_k"] for point in found["k"]} == pytest.approx(expected)
    assert found["accuracy_of_samples"] == sum(right) / 12
    assert (found["samples"], found["unjudged"], found["truncated"], found["judge"]) == (12, 0, 0, "rule")
    assert {"git_revision", "packages", "sha256", "model_url", "temperature", "seed"} <= set(found)
    with (tmp_path / "out/choice_pass_at_k.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["k", "pass_at_k", "low", "high", "problems"]
    assert [float(row["pass_at_k"]) for row in table] == [point["pass_at_k"] for point in found["k"]]
    assert Image.open(tmp_path / "out/pass_at_k.png").width > 1000
    assert "<svg" in (tmp_path / "out/pass_at_k.svg").read_text()
    assert "pass@k in percent, choice, tested" in capsys.readouterr().out


def test_requests_are_what_training_shows(flags, server, rows, tmp_path):
    main(flags(num_samples=1, k_values="1", temperature=0.7, max_new_tokens=33))
    for body in server.requests:
        image, text = body["messages"][0]["content"]
        number = int(text["text"].split()[2][0])
        assert text["text"] == asking_of(STAGES["choice"], "classify").prompt(
            f"Which is {number}? A. one B. two"
        )
        kind, _, encoded = image["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        sent = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert (sent.size, sent.getpixel((0, 0))) == ((40, 30), (number * 80, 90, 90))
        options = {name: body[name] for name in set(body) - {"messages", "seed"}}
        assert options == {"model": "tested", "temperature": 0.7, "top_p": 1.0, "max_tokens": 33}


def test_boxes_shrink_with_their_image(flags, server, tmp_path, record):
    stored, box = (1000, 600), "[100, 60, 500, 300]"
    Image.new("RGB", stored).save(tmp_path / "large.png")
    row = {"problem": f"Like {box}?", "solution": f"<answer>{box}</answer>", "task": "detection"}
    (tmp_path / "large.json").write_text(json.dumps([{**row, "image": "large.png"}]))
    shown = budget_size(stored, asking_of(STAGES["open"], "detection").budget)
    moved = rescale_boxes_in_text(box, stored, shown)
    server.answer = lambda body: f"<think></think><answer>{moved}</answer>"
    main(
        flags(
            input_file=tmp_path / "large.json",
            task_type="open",
            image_root=tmp_path,
            num_samples=1,
            k_values=1,
        )
    )
    image, text = server.requests[0]["messages"][0]["content"]
    assert text["text"].startswith(f"Like {moved}? ")
    encoded = image["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == shown != stored
    assert record("open")["accuracy_of_samples"] == 1


def test_more_samples_ask_for_the_new_ones_alone(flags, server, saved, record):
    main(flags())
    before, seeds = saved(), server.asked_seeds()
    main(flags(num_samples=8))
    assert len(server.requests) == 24
    assert saved()[:12] == before
    assert len(set(ids(saved()))) == 24
    assert len(set(server.asked_seeds())) == 24
    main(flags())
    assert (len(server.requests), len(saved())) == (24, 24)
    first = [row for row in saved() if number(row) < 4]
    assert record()["samples"] == 12
    assert record()["accuracy_of_samples"] == sum("<answer>A" in row["model_output"] for row in first) / 12
    assert sorted(seeds) == sorted(int(row["model_output"][7:].partition("<")[0]) for row in first)


def test_a_moved_sorted_and_longer_file_asks_for_its_new_rows_alone(flags, server, rows, tmp_path):
    main(flags())
    lines = rows.read_text().splitlines()
    new = json.dumps({**json.loads(lines[0]), "problem": "Which? A. this B. that"})
    (tmp_path / "sorted.jsonl").write_text("\n".join([new, *reversed(lines), lines[0]]))
    main(flags(input_file=tmp_path / "sorted.jsonl"))
    # The new row, and the one that is there twice now.
    assert len(server.requests) == 12 + 8


@pytest.mark.parametrize(
    "change", [{"temperature": 0.5}, {"model_name": "another"}, {"max_new_tokens": 9}, {"seed": 1}]
)
def test_samples_of_other_settings_are_set_aside(flags, server, saved, tmp_path, change):
    main(flags())
    before = saved()
    main(flags(**change))
    assert len(server.requests) == 24
    assert saved("choice_samples.jsonl.set-aside-1") == before
    assert len(saved()) == 12


def test_another_image_at_the_same_place_is_another_problem(flags, server, tmp_path):
    main(flags())
    Image.new("RGB", (40, 30), "white").save(tmp_path / "1.png")
    main(flags())
    assert len(server.requests) == 16


def test_two_task_types_share_a_figure(curves, flags, tmp_path):
    main(flags(num_samples=4))
    main(flags(task_type="open", num_samples=4))
    drawn = (tmp_path / "out/pass_at_k.svg").read_text()
    assert all(f"{task_type}: 3 problems, 4 samples each" in drawn for task_type in ("choice", "open"))


def test_truncated_samples_are_counted_and_equal_ones_warned_about(flags, server, record, caplog):
    server.answer = lambda body: "<think>"
    main(flags())
    assert (record()["truncated"], record()["accuracy_of_samples"]) == (12, 0)
    assert "12 of 12 samples were cut off at --max_new_tokens 256" in caplog.text
    assert "all 4 samples of every problem are equal" in caplog.text


BAD_FLAGS = [
    ({"k_values": "1,two"}, "expected positive integers"),
    ({"k_values": "0,1"}, "expected positive integers"),
    ({"k_values": "-1"}, "expected positive integers"),
    ({"k_values": "1.5"}, "expected positive integers"),
    ({"k_values": "²"}, "expected positive integers"),
    ({"k_values": "1" * 5000}, "expected positive integers"),
    ({"k_values": ""}, "expected positive integers"),
    ({"k_values": "1,,2"}, "expected positive integers"),
    ({"k_values": "1,2,01"}, "a value is there twice"),
    ({"k_values": "1,8", "num_samples": 4}, "8 is above the 4 samples of each problem"),
    ({"num_samples": 0}, "--num_samples 0: expected 1 or more"),
    ({"threads": 0}, "--threads 0: expected 1 to 32"),
    ({"threads": 33}, "--threads 33: expected 1 to 32"),
    ({"threads": "many"}, "--threads"),
    ({"attempts": 0}, "--attempts 0"),
    ({"timeout": "nan"}, "--timeout nan"),
    ({"timeout": 0}, "--timeout 0.0"),
    ({"temperature": -1}, "--temperature -1.0: expected 0 to 10"),
    ({"temperature": "nan"}, "--temperature nan"),
    ({"temperature": 0}, "all 4 answers would be equal"),
    ({"max_new_tokens": 0}, "--max_new_tokens 0"),
    ({"seed": -1}, "--seed -1"),
    ({"task_type": "chat"}, "--task_type"),
    ({"model_url": "ftp://somewhere"}, "--model_url: expected http"),
    ({"model_url": "localhost:8000"}, "--model_url: expected http"),
    ({"model_url": "http://me:secret@host"}, "holds a password"),
    ({"model_name": " "}, "--model_name: missing"),
    ({"model_name": None}, "--model_name"),
    ({"model": "/x"}, "--model and --model_url: name one"),
    ({"model_url": None}, "they are for --backend endpoint"),
    ({"model_url": None, "model_name": None}, "--model: missing"),
    ({"model_url": None, "model_name": None, "model": "/no/such"}, "--model /no/such: no such directory"),
    ({"box_frame": "processed"}, "an endpoint does not tell how its processor resizes images"),
    (
        {"judge_url": "http://host", "judge_model": "j", "judge_prompt": "/no"},
        "--judge_prompt /no: cannot be read",
    ),
    ({"judge": "llm"}, "--judge_url: missing"),
    ({"judge_url": "http://host"}, "--judge_model: missing"),
    ({"judge_url": "nowhere", "judge_model": "j"}, "--judge_url: expected http"),
    ({"image_root": "/nowhere"}, "--image_root /nowhere: no such directory"),
    ({"input_file": "nowhere.jsonl"}, "nowhere.jsonl: No such file"),
    ({"input_file": "rows.csv"}, "rows.csv: expected a .jsonl file"),
    ({"task_type": "judge"}, "rows.jsonl:1: solution '<answer>A</answer>' holds no gold"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_FLAGS)
def test_bad_flags_are_one_line_before_anything_is_asked(changes, message, flags, server, tmp_path, refused):
    error = refused(lambda: main(flags(**changes)))
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert "secret" not in error
    assert not server.requests
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file has no rows"),
        ('{"problem": "?"}\n', "rows.jsonl:1: image: the row has no image"),
        ('{"problem": "?", "solution": "A", "task": "math", "image": "/x.png"}', "no closed <answer>"),
        (
            '{"problem": "?", "solution": "<answer>A</answer>", "task": "math", "image": "/no/x.png"}',
            "unusable images: 1 of 1, in 1 of 1 rows: /no/x.png: no such file (check --image_root)",
        ),
    ],
)
def test_bad_rows_are_one_line_before_anything_is_asked(text, message, flags, rows, server, refused):
    rows.write_text(text)
    assert message in refused(lambda: main(flags()))
    assert not server.requests


@pytest.mark.parametrize("text", ["{", "[]", '{"task_type": "open"}', '{"task_type": "nope", "k": null}'])
def test_a_record_that_cannot_be_drawn_is_found_before_sampling(text, flags, server, tmp_path, refused):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/open_pass_at_k.json").write_text(text)
    error = refused(lambda: main(flags()))
    assert "open_pass_at_k.json: " in error
    assert "move it away" in error
    assert not server.requests


def test_two_commands_do_not_write_to_one_directory(flags, server, tmp_path, capsys):
    with journal.sole_writer(tmp_path / "out"), pytest.raises(SystemExit):
        main(flags())
    assert "another command is writing there" in capsys.readouterr().err
    assert not server.requests
