"""Sampling of the tiny base's own answers, by every route and after a kill."""

import json
import time
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from started_processes import start_processes
from transformers import AutoModelForImageTextToText

from curr_reft.evaluation.backends.endpoint import ChatEndpoint
from curr_reft.models.merge import merge
from curr_reft.self_improvement.candidates import main
from curr_reft.self_improvement.records import CANDIDATES, read_candidates

SOURCES = """
threshold: 85
sources:
  boxes: {domain: general, modality: image, json_path: queries/boxes.jsonl, quota: 2, task: detection}
  sums: {domain: math, modality: text, json_path: queries/sums.jsonl, quota: 2, task: math}
  chat: {domain: general, modality: image, json_path: queries/chat.jsonl, quota: 2}
"""


@pytest.fixture
def data(world, tmp_path) -> Path:
    """Two queries about a box, two without an image, one without a gold."""
    image = str(sorted((world / "images").glob("*/*.png"))[0].relative_to(world))
    gold = "<answer>[1, 2, 30, 40]</answer>"
    rows = {
        "boxes": [{"problem": f"Where is shape {n}?", "solution": gold, "image": image} for n in range(2)],
        "sums": [{"problem": f"What is {n} plus 2?", "solution": "<answer>3</answer>"} for n in range(2)],
        "chat": [{"problem": "What do you see?", "image": image, "solution": None}],
    }
    root = tmp_path / "data"
    (root / "queries").mkdir(parents=True)
    (root / "images").symlink_to(world / "images")
    for name, items in rows.items():
        (root / f"queries/{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (root / "sources.yaml").write_text(SOURCES)
    return root


@pytest.fixture
def flags(data, tiny_base, tmp_path):
    def make(**changes: object) -> list[str]:
        values = {
            "config": data / "sources.yaml",
            "data_root": data,
            "model": tiny_base,
            "output_dir": tmp_path / "work",
            "num_samples": 3,
            "max_new_tokens": 48,
            **changes,
        }
        return [
            part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))
        ]

    return make


def refused(argv: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_images_text_and_no_gold(flags, tmp_path, world):
    main(flags())
    found = read_candidates(tmp_path / "work" / CANDIDATES)
    assert [candidate.id for candidate in found[:4]] == [
        *(f"boxes/queries/boxes.jsonl:1#{sample}" for sample in range(3)),
        "boxes/queries/boxes.jsonl:2#0",
    ]
    assert len(found) == 5 * 3
    texts = [candidate for candidate in found if candidate.source == "sums"]
    assert all(candidate.image is None and candidate.shown is None for candidate in texts)
    assert all(candidate.solution is None and candidate.task is None for candidate in found[-3:])
    assert all(candidate.completion for candidate in found)
    # It samples: not every query gets the same answer three times.
    assert any(len({each.completion for each in found[start : start + 3]}) > 1 for start in range(0, 15, 3))
    record = json.loads((tmp_path / "work/candidates.json").read_text())
    assert (record["queries"], record["candidates"]) == (5, 15)
    assert record["settings"]["temperature"] == 1.0
    assert record["settings"]["top_k"] == 50


def test_neither_batches_nor_processes_nor_kills_change_an_answer(flags, tmp_path):
    main(flags())
    expected = (tmp_path / "work" / CANDIDATES).read_bytes()
    main(flags(output_dir=tmp_path / "single", batch_size=1))
    assert (tmp_path / "single" / CANDIDATES).read_bytes() == expected

    argv, path = flags(output_dir=tmp_path / "two", batch_size=1), tmp_path / "two" / CANDIDATES
    processes = start_processes(main, argv, 2)
    while not path.exists() or path.read_bytes().count(b"\n") < 4:
        assert all(process.is_alive() for process in processes)
        time.sleep(0.002)
    for process in processes:
        process.kill()
        process.join()
    with path.open("ab") as file:
        file.write(b'{"id": "boxes/queries/box')
    processes = start_processes(main, argv, 2)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert path.read_bytes() == expected


def test_more_samples_keep_the_first_ones_and_load_no_model_twice(flags, tmp_path, monkeypatch):
    main(flags(num_samples=1))
    first = {each.id: each for each in read_candidates(tmp_path / "work" / CANDIDATES)}
    main(flags())
    more = {each.id: each for each in read_candidates(tmp_path / "work" / CANDIDATES)}
    assert {name: more[name] for name in first} == first
    loader = "curr_reft.evaluation.backends.generation.load_model"
    monkeypatch.setattr(loader, lambda *_: pytest.fail("loaded again"))
    main(flags())
    assert {each.id: each for each in read_candidates(tmp_path / "work" / CANDIDATES)} == more


def test_an_adapter_is_asked_as_it_is_merged(flags, tiny_base, tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    config = LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged")
    written = {}
    for name in ("adapter", "merged"):
        main(flags(num_samples=1, model=tmp_path / name, output_dir=tmp_path / "of" / name))
        found = read_candidates(tmp_path / "of" / name / CANDIDATES)
        written[name] = [(each.id, each.completion) for each in found]
    assert written["adapter"] == written["merged"]


def test_another_seed_gives_other_answers(flags, tmp_path):
    main(flags(num_samples=1))
    main(flags(num_samples=1, seed=1, output_dir=tmp_path / "other"))
    texts = [
        [each.completion for each in read_candidates(tmp_path / name / CANDIDATES)]
        for name in ("work", "other")
    ]
    assert texts[0] != texts[1]


def test_an_endpoint_is_asked_with_a_seed_and_text_alone_has_no_image(flags, server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "curr_reft.evaluation.models.ChatEndpoint", lambda *fields: ChatEndpoint(*fields, first_wait=0.001)
    )
    server.answer = lambda body: f"<think>t</think><answer>{body['seed']}</answer>"
    server.faults.extend(["500", "cut", "malformed"])
    main(flags(model=None, backend="endpoint", model_url=server.url, model_name="m", threads=4))
    found = read_candidates(tmp_path / "work" / CANDIDATES)
    assert len({each.completion for each in found}) == 15
    assert len(server.requests) == 15 + 3
    parts = [[part["type"] for part in body["messages"][0]["content"]] for body in server.requests]
    assert {tuple(kinds) for kinds in parts} == {("image_url", "text"), ("text",)}
    assert {(body["temperature"], body["top_p"]) for body in server.requests} == {(1.0, 1.0)}


def test_a_relative_data_root_gives_the_same_ids(flags, data, tmp_path, monkeypatch):
    main(flags(num_samples=1))
    monkeypatch.chdir(data.parent)
    main(flags(num_samples=1, data_root="data", output_dir=tmp_path / "relative"))
    files = [(tmp_path / name / CANDIDATES).read_bytes() for name in ("work", "relative")]
    assert files[0] == files[1]


def test_an_unfinished_file_is_no_file_of_candidates(flags, tmp_path, capsys):
    main(flags(num_samples=1))
    path = tmp_path / "work" / CANDIDATES
    first, *rest = path.read_text().splitlines(keepends=True)
    row = {
        name: json.loads(first)[name] for name in ("id", "digest", "model_output", "truncated", "new_tokens")
    }
    path.write_text(json.dumps(row) + "\n" + "".join(rest))
    from curr_reft.errors import InputError

    with pytest.raises(InputError, match=r"candidates\.jsonl:1: no query: sampling is not through"):
        read_candidates(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, "--num_samples 0: expected 1 or more"),
        ({"temperature": 0}, "all 3 answers would be equal"),
        ({"temperature": "nan"}, "--temperature nan: expected 0 to 10"),
        ({"top_k": -1}, "--top_k -1: expected 0 or more"),
        ({"backend": "endpoint", "top_k": 5}, "an endpoint draws from all tokens"),
        ({"model": None}, "--model: missing"),
        ({"model": "/no/such/folder"}, "--model /no/such/folder: no such directory"),
        ({"config": "/no/such.yaml"}, "/no/such.yaml: cannot be read"),
        ({"threads": 0}, "--threads 0: expected 1 to 32"),
    ],
)
def test_bad_flags_are_one_line(changes, message, flags, capsys):
    error = refused(flags(**changes), capsys)
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        (
            "sums",
            {"problem": "2 + 2?", "image": "images/x.png"},
            "has an image, and source sums is of modality text",
        ),
        ("boxes", {"problem": "Where?"}, "has no image, and source boxes is of modality image"),
        ("boxes", {"problem": "Where?", "image": "images/x.png"}, "no such file"),
        ("boxes", {"problem": "Where?", "image": "../x.png"}, "is not below the image root"),
        (
            "sums",
            {"problem": "<image>2 + 2?"},
            "sums.jsonl:1: problem: starts with <image>, and the row has no image",
        ),
        ("sums", {"problem": "2 <|im_end|> 2"}, "sums.jsonl:1: problem: contains <|im_end|>"),
        ("boxes", {"problem": "x <|image_pad|>", "image": "images/x.png"}, "contains <|image_pad|>"),
        ("sums", {"problem": " "}, "sums.jsonl:1: problem: empty"),
        ("sums", ["x"], "sums.jsonl:1: expected an object"),
    ],
)
def test_bad_queries_are_named_before_weights_are_loaded(
    name, row, message, flags, data, capsys, monkeypatch
):
    monkeypatch.setattr(
        "curr_reft.evaluation.backends.generation.load_model", lambda *_: pytest.fail("weights were loaded")
    )
    (data / f"queries/{name}.jsonl").write_text(json.dumps(row) + "\n")
    error = refused(flags(), capsys)
    assert message in error
