import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.data.mixture import _select, load_mixture
from curr_reft.errors import InputError


@pytest.fixture
def world(tmp_path):
    """A data root with two files of ten rows each, and an image root."""
    for name in ("a", "b"):
        rows = [
            {"problem": f"{name}{i}", "solution": "<answer>1</answer>", "task": "math", "image": "x.jpg"}
            for i in range(10)
        ]
        path = tmp_path / "data" / "train" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "images").mkdir()
    return tmp_path


def load(world, yaml_text: str, seed: int = 42):
    config = world / "mixture.yaml"
    config.write_text(yaml_text)
    return load_mixture(config, world / "data", world / "images", seed)


def train(*datasets: str) -> str:
    return "train_datasets:\n" + "".join(f"  - {{{dataset}}}\n" for dataset in datasets)


def problems(examples) -> list[str]:
    return [example.problem for example in examples]


def test_loads_both_splits_and_records_the_files(world):
    mixture = load(
        world,
        train("json_path: train/a.jsonl, sampling_strategy: 'first:2'", "json_path: train/b.jsonl")
        + "val_datasets:\n  - json_path: train/b.jsonl\n    sampling_strategy: end:25%\n",
    )
    assert problems(mixture.train) == ["a0", "a1", *(f"b{i}" for i in range(10))]
    assert problems(mixture.val) == ["b7", "b8", "b9"]
    assert mixture.train[0].image == world / "images" / "x.jpg"
    assert [(f.path, f.split, f.sampling_strategy, f.rows, f.rows_used) for f in mixture.files] == [
        ("train/a.jsonl", "train", "first:2", 10, 2),
        ("train/b.jsonl", "train", "all", 10, 10),
        ("train/b.jsonl", "val", "end:25%", 10, 3),
    ]
    content = (world / "data/train/a.jsonl").read_bytes()
    assert mixture.files[0].sha256 == hashlib.sha256(content).hexdigest()


def test_rows_are_of_the_stage_that_their_entry_names(world):
    mixture = load(
        world,
        train(
            "json_path: train/a.jsonl, sampling_strategy: 'first:2', stage: judge",
            "json_path: train/b.jsonl, sampling_strategy: 'first:1'",
            "json_path: train/a.jsonl, sampling_strategy: 'end:1', stage: choice",
        )
        + "val_datasets: [{json_path: train/a.jsonl, stage: open}]",
    )
    assert [(row.problem, row.stage) for row in mixture.train] == [
        *(("a0", "judge"), ("a1", "judge")),
        *(("b0", ""), ("a9", "choice")),
    ]
    assert {row.stage for row in mixture.val} == {"open"}
    assert [file.stage for file in mixture.files] == ["judge", "", "choice", "open"]


def test_a_file_listed_twice_repeats_its_rows(world):
    mixture = load(world, train("json_path: train/a.jsonl", "json_path: train/a.jsonl"))
    assert problems(mixture.train) == [f"a{i}" for i in range(10)] * 2


def test_absolute_path_stays(world):
    assert len(load(world, train(f"json_path: {world}/data/train/a.jsonl")).train) == 10


@pytest.mark.parametrize("val", ["", "val_datasets:\n", "val_datasets: []\n"])
def test_validation_is_optional(world, val):
    assert len(load(world, train("json_path: train/a.jsonl") + val).val) == 0


def test_random_does_not_depend_on_the_other_datasets(world):
    b = "json_path: train/b.jsonl, sampling_strategy: 'random:4'"
    alone = problems(load(world, train(b)).train)
    after_a = problems(load(world, train("json_path: train/a.jsonl", b)).train)[10:]
    assert alone == after_a == sorted(alone)
    draws = {tuple(problems(load(world, train(b), seed=seed).train)) for seed in range(8)}
    assert len(draws) > 1


def test_more_than_the_file_has_takes_all_and_warns(world, caplog):
    mixture = load(world, train("json_path: train/a.jsonl, sampling_strategy: 'random:11'"))
    assert mixture.files[0].rows_used == 10
    assert "random:11 asks for more than the 10 rows" in caplog.text


A = "json_path: train/a.jsonl"
STRATEGY_ERROR = "train_datasets[0]: sampling_strategy: "


@pytest.mark.parametrize(
    ("yaml_text", "message"),
    [
        ("", "must be a mapping"),
        ("- 1", "must be a mapping"),
        ("train_datasets: [", "broken YAML"),
        ("{}", "empty mixture"),
        ("train_datasets:\nval_datasets: []", "empty mixture"),
        ("train_dataset: []", "unknown key 'train_dataset'; did you mean 'train_datasets'?"),
        ("1: []", "unknown key 1; valid keys are train_datasets, val_datasets"),
        ("train_datasets: train/a.jsonl", "train_datasets: expected a list"),
        ("train_datasets: [train/a.jsonl]", "train_datasets[0]: expected a mapping"),
        (train("path: a"), "train_datasets[0]: unknown key 'path'; did you mean 'json_path'?"),
        (train(A, A + ", sampling: all"), "train_datasets[1]: unknown key 'sampling'; "),
        (train(A + ", sampling_stategy: all"), "did you mean 'sampling_strategy'?"),
        (train("sampling_strategy: all"), "json_path: expected the path of a data file, found None"),
        (train("json_path: [a]"), "json_path: expected the path of a data file, found ['a']"),
        (train("json_path: train/c.jsonl"), "train/c.jsonl: no such file, which"),
        (train(A + ", sampling_strategy: 'first'"), STRATEGY_ERROR + "'first' is none of"),
        (train(A + ", sampling_strategy: 'frist:3'"), STRATEGY_ERROR + "'frist:3' is none of"),
        (train(A + ", sampling_strategy: 'first:-3'"), STRATEGY_ERROR + "'first:-3' is none of"),
        (train(A + ", sampling_strategy: 'first:2.5%'"), STRATEGY_ERROR + "'first:2.5%' is none of"),
        (train(A + ", sampling_strategy: 'end:101%'"), STRATEGY_ERROR + "'end:101%' is none of"),
        (train(A + ", sampling_strategy: 5"), STRATEGY_ERROR + "'5' is none of"),
        (train(A + ", sampling_strategy: 'random:0'"), STRATEGY_ERROR + "'random:0' selects no rows"),
        (train(A + ", sampling_strategy: 'end:0%'"), STRATEGY_ERROR + "'end:0%' selects no rows"),
        (train(A, A + ", stage: opne"), "train_datasets[1]: stage: 'opne' is none of judge, choice, open"),
        (train(A + ", stage: stage1_judge"), "train_datasets[0]: stage: 'stage1_judge' is none of"),
        (train(A + ", stage: "), "train_datasets[0]: stage: None is none of"),
        (train(A + ", stage: ''"), "train_datasets[0]: stage: '' is none of"),
        (train(A + ", stage: 1"), "train_datasets[0]: stage: 1 is none of"),
        (train(A + ", stage: [judge]"), "train_datasets[0]: stage: ['judge'] is none of"),
        (train(A + ", stages: judge"), "unknown key 'stages'; did you mean 'stage'?"),
        (train(A) + "val_datasets: [{json_path: x, stage: x}]", "val_datasets[0]: stage: 'x' is none of"),
    ],
)
def test_bad_mixture_is_one_line(world, yaml_text, message):
    with pytest.raises(InputError) as raised:
        load(world, yaml_text)
    assert message in str(raised.value)
    assert str(world) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_config_and_roots(world):
    config = world / "mixture.yaml"
    config.write_text(train("json_path: train/a.jsonl"))
    with pytest.raises(InputError, match=r"other\.yaml: cannot be read \(No such file"):
        load_mixture(world / "other.yaml", world / "data", world / "images", 0)
    with pytest.raises(
        InputError, match=r"^--data_root: .*nowhere is not a directory; .*data\.download.*build_data\.sh"
    ):
        load_mixture(config, world / "nowhere", world / "images", 0)
    with pytest.raises(InputError, match=r"^--image_root: .*nowhere is not a directory; .*data\.download"):
        load_mixture(config, world / "data", world / "nowhere", 0)
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8 text"):
        load_mixture(config, world / "data", world / "images", 0)


@given(
    st.integers(1, 60),
    st.sampled_from(["first", "end", "random"]),
    st.integers(1, 100),
    st.sampled_from(["", "%"]),
    st.text(),
)
def test_selection_is_deterministic_ordered_and_of_the_right_length(rows, form, amount, percent, seed):
    chosen = list(_select(rows, f"{form}:{amount}{percent}", seed, "here"))
    assert chosen == list(_select(rows, f"{form}:{amount}{percent}", seed, "here"))
    exact = rows * amount / 100 if percent else min(amount, rows)
    assert exact <= len(chosen) < exact + 1
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(rows))
    if form == "first":
        assert chosen == list(range(len(chosen)))
    elif form == "end":
        assert chosen == list(range(rows - len(chosen), rows))
