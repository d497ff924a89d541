"""The command against `transformers serve` with the tiny base: a real server and real images."""

import json
from itertools import islice

import pytest

from curr_reft.evaluation.pass_at_k.command import main


@pytest.mark.slow
def test_a_served_model_is_sampled(served, sampling_base, world, tmp_path, caplog):
    rows = tmp_path / "rows.jsonl"
    names = ("classify", "detection", "math")
    with rows.open("w") as file:
        for name in names:
            with (world / f"train/choice/choice_{name}_train.jsonl").open() as source:
                file.writelines(islice(source, 1))
    flags = {
        "input_file": rows,
        "image_root": world,
        "task_type": "choice",
        "output_dir": tmp_path / "out",
        "model_url": served,
        "model_name": sampling_base,
        "k_values": "1,2,4",
        "max_new_tokens": 24,
        "judge": "rule",
    }
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    main(argv)
    path = tmp_path / "out/choice_samples.jsonl"
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["id"] for row in samples}) == len(samples) == 12
    assert "samples of every problem are equal" not in caplog.text
    assert any("<answer>" in row["model_output"] for row in samples)
    record = json.loads((tmp_path / "out/choice_pass_at_k.json").read_text())
    assert [(point["k"], point["problems"]) for point in record["k"]] == [(1, 3), (2, 3), (4, 3)]
    values = [point["pass_at_k"] for point in record["k"]]
    assert values == sorted(values)
    assert values[0] == pytest.approx(record["accuracy_of_samples"])

    # Each seed gives its sample again, asked for one by one.
    for name in ("first", "second"):
        main([*argv, "--output_dir", str(tmp_path / name), "--threads", "1"])
    first, second = (tmp_path / name / path.name for name in ("first", "second"))
    assert first.read_text() == second.read_text()
