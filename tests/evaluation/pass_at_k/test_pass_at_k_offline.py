"""The command on weights in this process, the tiny base: no server, and the same samples by every route."""

import json
import time
from itertools import islice
from pathlib import Path

import pytest
from started_processes import start_processes

from curr_reft.evaluation.pass_at_k.command import main


@pytest.fixture
def offline(world, tiny_base, tmp_path):
    """The command's flags for two problems of each task; others may replace them."""
    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as file:
        for name in ("classify", "detection", "math"):
            with (world / f"train/choice/choice_{name}_train.jsonl").open() as source:
                file.writelines(islice(source, 2))

    def make(**changes: object) -> list[str]:
        values = {
            "input_file": rows,
            "image_root": world,
            "task_type": "choice",
            "output_dir": tmp_path / "out",
            "model": tiny_base,
            "k_values": "1,4",
            "max_new_tokens": 24,
            **changes,
        }
        return [part for name, value in values.items() for part in (f"--{name}", str(value))]

    return make


def completions(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["id"]: row["model_output"] for row in rows}


def test_weights_are_sampled_judged_and_estimated(offline, saved, record, tiny_base, monkeypatch):
    main(offline())
    found = record()
    assert (found["model"], found["model_url"], found["samples"]) == (str(tiny_base), None, 24)
    assert (found["settings"]["backend"], found["settings"]["top_k"]) == ("transformers", 0)
    assert [(point["k"], point["problems"]) for point in found["k"]] == [(1, 6), (4, 6)]
    texts = [row["model_output"] for row in saved()]
    assert len(texts) == 24
    assert len(set(texts)) > 6
    loader = "curr_reft.evaluation.backends.generation.load_model"
    monkeypatch.setattr(loader, lambda *_: pytest.fail("loaded again"))
    main(offline(num_samples=2, k_values=1))
    assert len(saved()) == 24
    main(offline())
    assert record()["k"] == found["k"]


def test_a_model_here_may_have_a_judge_elsewhere(offline, server, record):
    server.answer = lambda body: "Verdict: correct"
    main(offline(num_samples=1, k_values=1, judge_url=server.url, judge_model="j"))
    found = record()
    assert (found["judge"], found["judge_model"], found["unjudged"]) == ("llm", "j", 0)
    assert server.requests


@pytest.mark.slow
def test_neither_batches_nor_processes_nor_kills_change_a_sample(offline, tmp_path):
    main(offline())
    expected = completions(tmp_path / "out/choice_samples.jsonl")
    argv, path = offline(output_dir=tmp_path / "two", batch_size=1), tmp_path / "two/choice_samples.jsonl"
    processes = start_processes(main, argv, 2)
    while not path.exists() or path.read_bytes().count(b"\n") < 4:
        assert all(process.is_alive() for process in processes)
        time.sleep(0.002)
    for process in processes:
        process.kill()
        process.join()
    before = path.read_text().rpartition("\n")[0]
    processes = start_processes(main, argv, 2)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert path.read_text().startswith(before)
    assert completions(path) == expected
    records = [json.loads((tmp_path / name / "choice_pass_at_k.json").read_text()) for name in ("out", "two")]
    assert records[0]["k"] == records[1]["k"]
