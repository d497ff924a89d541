"""The evaluator on the tiny base and the small world: every route to the same files, and what stops it."""

import json
import shutil
import time
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from started_processes import start_processes
from transformers import AutoModelForImageTextToText

from curr_reft.evaluation.backends.endpoint import ChatEndpoint
from curr_reft.evaluation.evaluate import main
from curr_reft.files.manifest import write_manifest
from curr_reft.models.checkpoints import find_checkpoints

ROOT = Path(__file__).resolve().parents[2]
SUITES = ("detection_in", "classify_in", "math_in", "detection_out", "classify_out", "math_out")


@pytest.fixture
def flags(world, tiny_base, tmp_path):
    """Flags that evaluate the tiny base on the small world; changes replace them, `None` leaves one out."""

    def make(**changes: object) -> list[str]:
        values = {
            "model": tiny_base,
            "suites_config": ROOT / "configs/eval/shapes.yaml",
            "data_root": world,
            "output_dir": tmp_path / "out",
            "max_new_tokens": 64,
            **changes,
        }
        return [
            part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))
        ]

    return make


def answers(folder: Path) -> dict[str, list[dict]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def scores(folder: Path) -> dict:
    return json.loads((folder / "scores.json").read_text())


def refused(argv: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test when weights are loaded."""
    monkeypatch.setattr(
        "curr_reft.evaluation.backends.generation.load_model", lambda *_: pytest.fail("weights were loaded")
    )


@pytest.fixture(scope="module")
def evaluated(world, tiny_base, tmp_path_factory) -> Path:
    """An evaluation of the tiny base on all suites, 16 rows at a time."""
    folder = tmp_path_factory.mktemp("evaluated") / "out"
    main(
        [
            *("--model", str(tiny_base), "--suites_config", str(ROOT / "configs/eval/shapes.yaml")),
            *("--data_root", str(world), "--output_dir", str(folder)),
            *("--max_new_tokens", "64", "--batch_size", "16"),
        ]
    )
    return folder


def test_answers_and_scores_are_written(evaluated):
    record, rows = scores(evaluated), answers(evaluated)
    assert tuple(record["scores"]) == SUITES
    assert sorted(rows) == sorted(SUITES)
    assert record["architecture"] == {"model_type": "qwen2_5_vl", "hidden_size": 128, "layers": 4}
    for name, score in record["scores"].items():
        assert len(rows[name]) == score["n"] == 3
        assert sum(row["strict"] for row in rows[name]) == round(score["accuracy"] * 3)
        assert sum(row["tolerant"] for row in rows[name]) == round(score["tolerant"] * 3)
        assert sum(row["released"] for row in rows[name]) == round(score["released"] * 3)
        assert sum(not row["parsed"] for row in rows[name]) == round(score["unparsed"] * 3)
        assert score["low"] <= score["accuracy"] <= score["high"]
        assert (score["overlap"] is None) == (score["task"] == "math")
        assert score["settings"]["dtype"] == "float32"
        for row in rows[name]:
            assert row["truncated"] == (
                row["new_tokens"] == 64 and not row["model_output"].endswith("</answer>")
            )
            assert row["explanation"]["strict"]["rule"]


def test_the_batch_does_not_matter(evaluated, flags, tmp_path):
    main(flags(batch_size=1))
    assert answers(tmp_path / "out") == answers(evaluated)


def test_nothing_is_asked_twice(evaluated, flags, tmp_path, no_model, caplog):
    caplog.set_level("INFO")
    shutil.copytree(evaluated, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.jsonl")}
    main(flags(batch_size=3))
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.suffix == ".jsonl"
    } == before
    assert caplog.text.count("all 3 answers are there") == 6
    assert len(scores(tmp_path / "out")["scores"]) == 6


def test_what_is_missing_or_broken_is_asked_again_and_the_rest_kept(evaluated, flags, tmp_path, caplog):
    shutil.copytree(evaluated, tmp_path / "out")
    path = tmp_path / "out/math_in.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    # A row of its own, a broken one, and half of the last.
    path.write_bytes(
        lines[0].replace(b'"model_output": "', b'"model_output": "kept ') + b"{broken\n" + lines[2][:50]
    )
    main(flags(suites="math_in"))
    rows = answers(tmp_path / "out")["math_in"]
    assert rows[0]["model_output"].startswith("kept ")
    assert rows[1:] == answers(evaluated)["math_in"][1:]
    assert b"{broken" in (tmp_path / "out/math_in.jsonl.set-aside-1").read_bytes()
    assert "math_in.jsonl.set-aside-1" in caplog.text


def test_other_weights_or_settings_are_asked_again(evaluated, flags, tmp_path, tiny_base, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "curr_reft.evaluation.backends.generation.TransformersBackend.answer",
        lambda self, rows, processes, save: asked.append(len(rows)),
    )
    model = tmp_path / "base"
    shutil.copytree(tiny_base, model)
    for changes in ({"max_new_tokens": 32}, {"prompts": "released"}, {"repetition_penalty": 1.5}):
        shutil.copytree(evaluated, tmp_path / "out", dirs_exist_ok=True)
        # No answer comes, so that there is none to score.
        with pytest.raises(KeyError):
            main(flags(suites="detection_in", **changes))
    assert asked == [3, 3, 3]
    (model / "chat_template.jinja").write_text((model / "chat_template.jinja").read_text() + " ")
    with pytest.raises(KeyError):
        main(flags(suites="math_in", model=model))
    assert asked == [3] * 4


def test_a_larger_sample_keeps_the_answers_of_a_smaller(flags, tmp_path, evaluated, monkeypatch):
    main(flags(suites="math_in", sample_num=2))
    assert scores(tmp_path / "out")["scores"]["math_in"]["n"] == 2
    main(flags(suites="math_in", sample_num=3))
    assert scores(tmp_path / "out")["scores"]["math_in"]["answered_now"] == 1
    assert answers(tmp_path / "out")["math_in"] == answers(evaluated)["math_in"]


def test_suites_that_cannot_be_scored_are_named_first_and_the_others_scored(
    evaluated, flags, tmp_path, world, capsys, caplog
):
    config = tmp_path / "suites.yaml"
    config.write_text(
        (ROOT / "configs/eval/shapes.yaml").read_text().replace("test/math_test.jsonl", "test/nowhere.jsonl")
    )
    root = tmp_path / "world"
    shutil.copytree(world, root)
    row = json.loads((root / "test/classify_test.jsonl").read_text().splitlines()[0])
    (root / row["image"]).unlink()
    error = refused(flags(suites_config=config, data_root=root), capsys)
    assert "error: not scored: suites detection_out, classify_out, math_out" in error
    assert "suite math_out cannot be scored" in caplog.text
    assert "nowhere.jsonl: No such file" in caplog.text
    assert "unusable images: 1 of 3" in caplog.text
    assert answers(tmp_path / "out").keys() == {"detection_in", "classify_in", "math_in"}
    assert answers(tmp_path / "out")["math_in"] == answers(evaluated)["math_in"]


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("model", "./nowhere", "--model ./nowhere: no such directory"),
        ("model", None, "--model: missing"),
        ("output_dir", None, "--output_dir: missing"),
        ("suites", "maths", "--suites maths: no such suite"),
        ("suites_config", "nowhere.yaml", "nowhere.yaml: cannot be read"),
        ("data_root", "./nowhere", "--data_root nowhere: no such directory"),
        ("sample_num", 0, "--sample_num 0: expected more than 0"),
        ("timeout", "inf", "--timeout inf: expected more than 0"),
        ("max_new_tokens", 10**12, "--max_new_tokens 1000000000000: expected"),
        ("seed", -1, "--seed -1: expected 0 or more"),
        ("model_url", "http://localhost:1", "they are for --backend endpoint"),
        ("max_new_tokens", -1, "--max_new_tokens -1"),
        ("batch_size", 0, "--batch_size 0"),
        ("threads", 33, "--threads 33: expected 1 to 32"),
        ("repetition_penalty", 0, "--repetition_penalty 0.0"),
        ("backend", "vllm", "vLLM is not installed"),
        ("backend", "endpoint", "--model_url: missing"),
        ("model_uri", "x", "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line(flag, value, message, flags, no_model, capsys):
    error = refused(flags(**{flag: value}), capsys)
    assert message in error
    assert error.count("\n") == 1


def test_a_gold_that_cannot_be_read_is_said(flags, world, tmp_path, caplog):
    root = tmp_path / "world"
    shutil.copytree(world, root)
    path = root / "train/open/classify_test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["solution"] = "<answer></answer>"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(flags(suites="classify_in", data_root=root))
    assert "golds cannot be read, first train/open/classify_test.jsonl:" in caplog.text
    assert scores(tmp_path / "out")["scores"]["classify_in"]["incidents"]["strict, bad_gold"] >= 1


def test_two_evaluations_do_not_write_into_one_folder(flags, tmp_path, capsys):
    from curr_reft.files.journal import sole_writer

    with sole_writer(tmp_path / "out"):
        assert "another command is writing there" in refused(flags(), capsys)


@pytest.fixture
def run_folder(tiny_base, tmp_path) -> Path:
    """A training run: two checkpoints, the later one first by name, and the final weights."""
    run = tmp_path / "run"
    for name in ("checkpoint-20", "checkpoint-100", ""):
        shutil.copytree(tiny_base, run / name, dirs_exist_ok=True)
        (run / name / "trainer_state.json").write_text(json.dumps({"global_step": 120, "log_history": []}))
    write_manifest(run, {"config": {"box_frame": "processed", "model_name_or_path": str(tiny_base)}})
    return run


def test_all_checkpoints_of_a_run_are_scored_by_step_and_keep_its_box_frame(
    run_folder, flags, tmp_path, capsys
):
    main(flags(model=run_folder, suites="math_in"))
    folders = ("checkpoint-20", "checkpoint-100", "final")
    records = [scores(tmp_path / "out" / name) for name in folders]
    assert [(record["name"], record["step"]) for record in records] == list(
        zip(folders, (20, 100, 120), strict=True)
    )
    assert {record["training_run"] for record in records} == {str(run_folder)}
    assert {record["scores"]["math_in"]["settings"]["box_frame"] for record in records} == {"processed"}
    titles = capsys.readouterr().out
    assert titles.index("checkpoint-20") < titles.index("checkpoint-100") < titles.index("final")
    argv = flags(model=run_folder, suites="math_in", output_dir=tmp_path / "last", box_frame="budget")
    main([*argv, "--final_only"])
    record = scores(tmp_path / "last")
    assert (record["name"], record["step"]) == ("run", 120)
    assert record["scores"]["math_in"]["settings"]["box_frame"] == "budget"


def test_a_checkpoint_without_processor_takes_its_base_models(run_folder, tiny_base, flags, tmp_path, capsys):
    checkpoint = run_folder / "checkpoint-20"
    for path in checkpoint.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    main(flags(model=checkpoint, suites="math_in", sample_num=1))
    (run_folder / "manifest.json").unlink()
    error = refused(flags(model=checkpoint, suites="math_in"), capsys)
    assert "a checkpoint needs config.json and its base model's processor" in error
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(
        json.dumps({**config, "_name_or_path": str(tmp_path / "gone/for/good")})
    )
    assert "its base model" in refused(flags(model=checkpoint, suites="math_in"), capsys)


def test_incomplete_checkpoints_are_named_and_the_others_scored(run_folder, flags, tmp_path, capsys, caplog):
    (run_folder / "checkpoint-100/model.safetensors").unlink()
    path = run_folder / "checkpoint-20/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    error = refused(flags(model=run_folder, suites="math_in", sample_num=1), capsys)
    assert "error: not scored: checkpoints checkpoint-20, checkpoint-100 (see above)" in error
    assert "checkpoint-20/model.safetensors: not written to the end" in caplog.text
    assert "checkpoint-100: holds no weights" in caplog.text
    assert scores(tmp_path / "out/final")["scores"]["math_in"]["n"] == 1
    (run_folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(flags(model=run_folder, suites="math_in"), capsys)


def test_weights_that_are_missing_are_not_made_up(tiny_base, flags, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(tiny_base, model)
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    save_file({key: value for key, value in weights.items() if key != name}, model / "model.safetensors")
    error = refused(flags(model=model, suites="math_in"), capsys)
    assert "1 of the model's weights are missing, such as" in error
    assert "down_proj" in error
    assert not (tmp_path / "out/scores.json").exists()


def test_what_a_checkpoint_takes_from_its_base_is_part_of_its_digest(run_folder, tiny_base, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    (run_folder / "manifest.json").unlink()
    write_manifest(run_folder, {"config": {"model_name_or_path": str(base)}})
    checkpoint = run_folder / "checkpoint-20"
    (checkpoint / "processor_config.json").unlink()

    def digest():
        return find_checkpoints(str(checkpoint), False, {})[0].digest()

    before = digest()
    (checkpoint / "scores.json").write_text("{}")
    assert digest() == before
    (base / "chat_template.jinja").write_text("changed")
    assert digest() != before


def test_an_adapter_is_scored_on_its_base(tiny_base, flags, tmp_path, evaluated, capsys):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    main(flags(model=tmp_path / "adapter", suites="detection_in"))
    record = scores(tmp_path / "out")
    assert record["adapter_of"] == str(tiny_base)
    assert record["model_digest"] != scores(evaluated)["model_digest"]
    ours, base = (answers(folder)["detection_in"] for folder in (tmp_path / "out", evaluated))
    assert [row["model_output"] for row in ours] != [row["model_output"] for row in base]
    config = tmp_path / "adapter/adapter_config.json"
    whole = json.loads(config.read_text())
    config.write_text(json.dumps({**whole, "target_modules": ["q_proj"]}))
    error = refused(flags(model=tmp_path / "adapter", suites="detection_in"), capsys)
    assert "its weights are not those that its configuration and base ask for" in error
    config.write_text(json.dumps({**whole, "target_modules": ["no_such_module"]}))
    assert "no_such_module" in refused(flags(model=tmp_path / "adapter", suites="detection_in"), capsys)
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "/gone/for/good"})
    )
    assert "its base model /gone/for/good is not on this machine" in refused(
        flags(model=tmp_path / "adapter"), capsys
    )


def test_a_hub_id_that_cannot_be_had_is_one_line(flags, capsys):
    error = refused(flags(model="someone/a-model-of-no-cache"), capsys)
    assert "--model someone/a-model-of-no-cache: no such directory, nor in the hub's cache" in error


def count_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def test_two_processes_write_the_same_files_also_after_a_kill(evaluated, flags, tmp_path):
    argv = flags(batch_size=1)
    for rows in (2, 8):
        processes = start_processes(main, argv, 2)
        while count_lines(tmp_path / "out") < rows:
            assert all(process.is_alive() for process in processes)
            time.sleep(0.002)
        for process in processes:
            process.kill()
            process.join()
    kept = count_lines(tmp_path / "out")
    assert 8 <= kept < 18
    processes = start_processes(main, argv, 2)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    answered = sum(score["answered_now"] for score in scores(tmp_path / "out")["scores"].values())
    assert answered == 18 - kept
    assert not list((tmp_path / "out").glob("*set-aside*"))
    for path in evaluated.glob("*.jsonl"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_a_fault_that_the_first_process_finds_ends_both(flags, tmp_path, capfd):
    processes = start_processes(main, flags(data_root=tmp_path), 2)
    processes[0].join()
    assert processes[0].exitcode == 2
    # It would say the same after a while; torchrun ends it before.
    processes[1].kill()
    assert capfd.readouterr().err.count("error: no suite can be scored") == 1


def test_an_endpoint_is_asked_the_same(evaluated, flags, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("curr_reft.evaluation.models.ChatEndpoint", hurried)
    monkeypatch.setenv("MODEL_API_KEY", "sk-very-secret")
    server.faults.extend(["500", "malformed", "cut", "no choices", "429"])
    server.answer = lambda body: "<think>t</think><answer>4</answer>"
    main(flags(model=None, backend="endpoint", model_url=server.url, model_name="tested", threads=3))
    rows = answers(tmp_path / "out")
    assert {name: len(found) for name, found in rows.items()} == dict.fromkeys(SUITES, 3)
    prompts = [body["messages"][0]["content"][1]["text"] for body in server.requests]
    expected = [row["prompt"] for found in answers(evaluated).values() for row in found]
    assert sorted(set(prompts)) == sorted(set(expected))
    assert len(server.requests) == 18 + 5
    assert {(body["temperature"], body["max_tokens"]) for body in server.requests} == {(0.0, 64)}
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-very-secret"}
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "sk-very-secret" not in written + capsys.readouterr().err


def hurried(*fields: object) -> ChatEndpoint:
    return ChatEndpoint(*fields, first_wait=0.001)


@pytest.mark.slow
def test_a_served_model_answers_as_it_does_in_this_process(served, sampling_base, evaluated, flags, tmp_path):
    endpoint = {"model": None, "backend": "endpoint", "model_url": served, "model_name": sampling_base}
    main(flags(**endpoint, suites="in", threads=1))
    ours, theirs = answers(evaluated), answers(tmp_path / "out")
    assert theirs.keys() == {"detection_in", "classify_in", "math_in"}
    for name, rows in theirs.items():
        assert [row["model_output"] for row in rows] == [row["model_output"] for row in ours[name]]
