"""What counts as a leak, under which disguise, and what the command and a training run do about it."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from curr_reft.data.image_copies import MAX_DISTANCE, HeldOutImages
from curr_reft.data.leaks import find_overlaps, main, normalised, summaries
from curr_reft.data.schema import Example, Question
from curr_reft.errors import InputError
from curr_reft.stages import STAGES
from curr_reft.training.run import prepare


def image(path: Path, seed: int, size=(160, 120)) -> Path:
    """An image with coarse structure of its own, as photographs have."""
    image = Image.new("RGB", (160, 120), (90, 120, 150))
    pen = ImageDraw.Draw(image)
    for n in range(12):
        x, y = (seed * 37 + n * 53) % 140, (seed * 61 + n * 29) % 100
        colour = ((seed * 91 + n * 70) % 256, (n * 50) % 256, (seed * 13) % 256)
        pen.ellipse((x, y, x + 10 + n * 3, y + 8 + n * 2), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize(size).save(path)
    return path


def train(problem: str, image: Path | str, line: int = 1) -> Example:
    return Example(f"train.jsonl:{line}", problem, "<answer>1</answer>", "math", Path(image))


def held_out(*questions: tuple[str, str]) -> dict[str, list[Question]]:
    return {
        "suite": [Question(f"test.jsonl:{n}", text, Path(image)) for n, (text, image) in enumerate(questions)]
    }


@pytest.mark.parametrize(
    ("text", "same"),
    [("<image>\nFind  the AREA.", "Find the area"), ("ﬁnd x²", "find x2"), ("How many?", "how many")],
)
def test_texts_that_are_the_same(text, same):
    assert normalised(text) == normalised(same)


def test_texts_that_differ():
    assert normalised("x + 1 = 2") != normalised("x - 1 = 2")


def test_the_worst_kind_counts_once_per_held_out_row_and_file():
    suites = held_out(("How many cats?", "a.jpg"), ("Is it late?", "b.jpg"), ("Where is it?", "c.jpg"))
    rows = [
        train("Where is the dog?", "a.jpg", 1),
        train("how many cats", "a.jpg", 2),
        train("Another one", "b.jpg", 3),
        train("where is it", "z.jpg", 4),
    ]
    found = {(overlap.held_out, overlap.train, overlap.kind) for overlap in find_overlaps(rows, suites)}
    assert found == {
        ("test.jsonl:0", "train.jsonl:2", "question"),
        ("test.jsonl:1", "train.jsonl:3", "image"),
        ("test.jsonl:2", "train.jsonl:4", "text"),
    }


def test_a_template_is_no_overlap_in_text():
    suites = held_out(("How many things?", "a.jpg"), ("How many things?", "b.jpg"), ("Which one?", "c.jpg"))
    rows = [train("How many things?", "y.jpg"), train("Which one?", "y.jpg"), train("Which one?", "z.jpg")]
    assert find_overlaps(rows, suites) == []


def test_text_alone_is_no_leak():
    suites = held_out(("Which one?", "c.jpg"))
    overlaps = find_overlaps([train("Which one?", "y.jpg")], suites)
    assert [overlap.kind for overlap in overlaps] == ["text"]
    assert summaries(overlaps, suites) == []


def test_copies_are_found_by_bytes_and_by_looks(tmp_path):
    original = image(tmp_path / "original.png", 1)
    renamed, smaller, grey = (tmp_path / name for name in ("renamed.png", "smaller.jpg", "grey.png"))
    renamed.write_bytes(original.read_bytes())
    Image.open(original).resize((80, 60)).save(smaller, quality=50)
    Image.open(original).convert("L").save(grey)
    others = [image(tmp_path / f"{seed}.png", seed) for seed in range(2, 8)]
    held = HeldOutImages([original, others[0]], MAX_DISTANCE)
    held.compare([renamed, smaller, grey, *others[1:]])
    assert held.copies_of(renamed)[original] == "image"
    assert held.copies_of(smaller)[original] == "look-alike"
    assert held.copies_of(grey)[original] == "look-alike"
    for other in others[1:]:
        assert held.copies_of(other) == {other: "image"}


def test_images_that_cannot_be_opened_are_said_to_be_compared_by_path(tmp_path, caplog):
    held = HeldOutImages([tmp_path / "missing.png"], MAX_DISTANCE)
    held.compare([image(tmp_path / "a.png", 1)])
    assert held.copies_of(tmp_path / "missing.png") == {tmp_path / "missing.png": "image"}
    assert "1 of 1 images cannot be opened" in caplog.text


@pytest.fixture
def roots(tmp_path):
    """A data root whose training rows hold a shrunk, renamed copy of one of two held-out images."""
    for name, seed in (("test/1", 1), ("test/2", 2), ("train/3", 3)):
        image(tmp_path / f"{name}.png", seed)
    image(tmp_path / "train/copy.jpg", 1, size=(120, 90))
    row = {"solution": "<answer>3</answer>", "task": "math"}
    files = {
        "clean.jsonl": [{**row, "problem": "How many?", "image": "train/3.png"}],
        "copied.jsonl": [{**row, "problem": "How many?", "image": "train/copy.jpg"}],
        "same.jsonl": [{**row, "problem": "Count the dots.", "image": "test/2.png"}],
        # A suite's rows may have golds of another form.
        "test.jsonl": [
            {"problem": "How many?", "image": "test/1.png", "solution": [1, 2, 3, 4]},
            {"problem": "count the  dots", "image": "test/2.png", "solution": 3},
        ],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        (tmp_path / f"{Path(name).stem}.yaml").write_text(f"train_datasets:\n  - json_path: {name}\n")
    suite = "{task: math, domain: in, json_path: %s, scoring: math_in}"
    (tmp_path / "suites.yaml").write_text(
        f"suites:\n  math_in: {suite % 'test.jsonl'}\n  other: {suite % 'not_there.jsonl'}\n"
    )
    return tmp_path


def only_one_suite(roots: Path) -> None:
    lines = (roots / "suites.yaml").read_text().splitlines(keepends=True)
    (roots / "suites.yaml").write_text("".join(line for line in lines if "not_there" not in line))


def flags(roots: Path, mixture: str, *more: str) -> list[str]:
    names = {"--dataset_name": mixture, "--suites": "suites.yaml", "--image_root": "."}
    return [*(part for flag, name in names.items() for part in (flag, str(roots / name))), *more]


@pytest.mark.parametrize(
    ("mixture", "kind", "row"),
    [("copied.yaml", "question", "test.jsonl:1"), ("same.yaml", "question", "test.jsonl:2")],
)
def test_command_reports_and_forbids(roots, mixture, kind, row, refused, caplog):
    report = roots / "report.jsonl"
    main(flags(roots, mixture, "--report", str(report)))
    (overlap,) = map(json.loads, report.read_text().splitlines())
    assert (overlap["kind"], overlap["held_out"]) == (kind, str(roots / row))
    assert "gives away 1 of the 2 held-out rows of math_in (1 with their question)" in caplog.text
    assert "not_there.jsonl" in caplog.text
    only_one_suite(roots)
    assert "held-out rows are in training" in refused(lambda: main(flags(roots, mixture, "--forbid_leaks")))


def test_command_finds_nothing_in_clean_rows(roots, caplog):
    only_one_suite(roots)
    caplog.set_level("INFO")
    main(flags(roots, "clean.yaml", "--forbid_leaks"))
    assert "no leak found in 1 training rows" in caplog.text


def test_forbidding_leaks_needs_everything_to_be_compared(roots, refused, caplog):
    assert "not all could be compared (named above), first other" in refused(
        lambda: main(flags(roots, "clean.yaml", "--forbid_leaks"))
    )
    only_one_suite(roots)
    (roots / "train/3.png").unlink()
    assert "train/3.png" in refused(lambda: main(flags(roots, "clean.yaml", "--forbid_leaks")))
    caplog.set_level("INFO")
    main(flags(roots, "clean.yaml"))
    assert "no leak found in what could be compared" in caplog.text


def test_a_judge_row_asks_the_question_it_begins_with():
    suites = held_out(("How many people are there?", "a.jpg"), ("Where is it", "b.jpg"))
    rows = [
        train("How many people are there? Is the answer 4? Use yes or no to answer.", "a.jpg", 1),
        train("Where is its tail?\nA. here\nB. there", "b.jpg", 2),
    ]
    assert [overlap.kind for overlap in find_overlaps(rows, suites)] == ["question", "image"]


def test_a_look_alike_is_a_leak_only_with_a_question_of_its_own():
    suites = held_out(("Find x.", "a.jpg"), ("Find x.", "b.jpg"), ("Find the angle at C.", "c.jpg"))
    rows = [train("Find x.", "z.jpg", 1), train("Find the angle at C.", "z.jpg", 2)]

    def alike(path: Path) -> dict[Path, str]:
        return {Path("a.jpg"): "look-alike", Path("c.jpg"): "look-alike"}

    overlaps = find_overlaps(rows, suites, alike)
    assert {(overlap.held_out, overlap.kind) for overlap in overlaps} == {
        ("test.jsonl:0", "look-alike"),
        ("test.jsonl:2", "question"),
    }
    assert "gives away 1 of the 3 held-out rows" in summaries(overlaps, suites)[0]


def test_a_negative_distance_is_refused(roots, refused):
    assert (
        refused(lambda: main(flags(roots, "clean.yaml", "--max_distance", "-5")))
        == "error: --max_distance -5: expected 0 or more bits\n"
    )


def test_command_without_any_suite_file(roots, refused):
    (roots / "test.jsonl").unlink()
    assert "none of its files could be read below" in refused(lambda: main(flags(roots, "clean.yaml")))


def run_flags(roots: Path, tiny_base: Path, mixture: str, *more: str) -> list[str]:
    return [
        *("--dataset_name", str(roots / mixture), "--image_root", str(roots), "--dry_run"),
        *("--model_name_or_path", str(tiny_base), "--output_dir", str(roots / "run"), *more),
    ]


def test_a_training_run_warns_or_stops(roots, tiny_base):
    stage, suites = STAGES["open"], ("--held_out_suites", str(roots / "suites.yaml"))
    (roots / "suites.yaml").write_text((roots / "suites.yaml").read_text().replace("not_there", "clean"))
    notes = prepare(stage, run_flags(roots, tiny_base, "same.yaml", *suites)).plan.notes
    assert any("gives away 1 of the 2 held-out rows of math_in" in note for note in notes)
    with pytest.raises(InputError, match=r"--forbid_leaks: .* gives away 1 of the 2"):
        prepare(stage, run_flags(roots, tiny_base, "same.yaml", *suites, "--forbid_leaks"))
    assert (
        prepare(stage, run_flags(roots, tiny_base, "copied.yaml", *suites, "--forbid_leaks")).plan.notes == []
    )


def test_forbidding_leaks_needs_something_to_compare_with(roots, tiny_base):
    with pytest.raises(InputError, match="--forbid_leaks: name what is held out"):
        prepare(STAGES["open"], run_flags(roots, tiny_base, "clean.yaml", "--forbid_leaks"))
    suites = ("--held_out_suites", str(roots / "suites.yaml"), "--forbid_leaks")
    with pytest.raises(
        InputError, match=r"held-out suite not compared: other \(.*not_there\.jsonl: No such file"
    ):
        prepare(STAGES["open"], run_flags(roots, tiny_base, "clean.yaml", *suites))
