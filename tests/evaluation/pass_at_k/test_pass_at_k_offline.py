"""The command on weights in this process, the tiny base: no server, and the same samples by every route."""

from itertools import islice

import pytest

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
