"""Whether a judge or choice question can be answered without looking at the image, from how answers look.

2,000 rows a task with lop-sided answers (boxes large and small, a label in most images, mostly small
numbers) are built into questions; cross-validated classifiers then try to find the right answers in their
surface.
"""

import json
import random
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from curr_reft.answers.options import parse_options
from curr_reft.answers.region import extract_answer
from curr_reft.data.images import check_images
from curr_reft.data.reformat.builder import choice_rows, judge_rows
from curr_reft.data.schema import read_examples

ROWS = 2000
SIZES = [(640, 480), (480, 640), (500, 375), (84, 84)]
LABELS = ["person", "car", "dog", "traffic light", "hair drier", "cup", "book", "bird", "sofa", "tv", "kite"]
FREQUENCIES = [20, 8, 4, 3, 1, 6, 5, 3, 3, 3, 1]
MODELS = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "depth-3 tree": DecisionTreeClassifier(max_depth=3, random_state=0),
}


def _answer(task: str, rng: random.Random, size: tuple[int, int]) -> str:
    if task == "detection":
        low, high = (0.7, 0.98) if rng.random() < 0.2 else (0.06, 0.5)
        sides = [max(3, round(side * rng.uniform(low, high))) for side in size]
        x, y = (rng.randint(0, whole - side) for whole, side in zip(size, sides, strict=True))
        return json.dumps({"bbox_2d": [x, y, x + sides[0], y + sides[1]]})
    if task == "classify":
        return ", ".join(
            sorted({rng.choices(LABELS, FREQUENCIES)[0] for _ in range(rng.choice([1, 2, 2, 3, 4]))})
        )
    return str(min(int(rng.expovariate(0.3)) + 1, 40) if rng.random() < 0.6 else rng.randint(5, 180))


@pytest.fixture(scope="module")
def open_rows(tmp_path_factory):
    root = tmp_path_factory.mktemp("open")
    rng = random.Random(11)
    for index, size in enumerate(SIZES):
        Image.new("RGB", size).save(root / f"{index}.png")
    examples = {}
    for task in ("detection", "classify", "math"):
        lines = []
        for number in range(ROWS):
            index = rng.randrange(len(SIZES))
            row = {"problem": f"What about {number}?", "task": task, "image": f"{index}.png"}
            row["solution"] = f"<answer>{_answer(task, rng, SIZES[index])}</answer>"
            lines.append(json.dumps(row))
        (root / f"{task}.jsonl").write_text("\n".join(lines))
        examples[task] = read_examples(root / f"{task}.jsonl", root)
    sizes = check_images(examples["detection"], allow_missing=False)[0]
    return root, examples, sizes


def looks(text: str, image: str) -> list[float]:
    """Length, digits and marks of a claim or an option; a box's place and size, in pixels and shares."""
    numbers = [float(number) for number in re.findall(r"[0-9.]+", text)]
    features = [len(text), sum(map(str.isdigit, text)), text.count(","), text.count(" "), sum(numbers)]
    if text.startswith("["):
        width, height = SIZES[int(image[0])]
        x1, y1, x2, y2 = numbers
        shares = [x1 / width, y1 / height, x2 / width, y2 / height, (x2 - x1) * (y2 - y1) / width / height]
        features += [x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1), *shares]
    return features


def assert_chance(right: np.ndarray, chance: float, what: str) -> None:
    # 99.9 % for each: many are tried.
    margin = 3.29 * (chance * (1 - chance) / len(right)) ** 0.5
    assert abs(right.mean() - chance) < margin, (
        f"{what}: {right.mean():.3f}, expected {chance} +- {margin:.3f}"
    )


def predictions(model, features, target, groups=None) -> np.ndarray:
    folds = StratifiedKFold(5, shuffle=True, random_state=0) if groups is None else GroupKFold(5)
    return cross_val_predict(model, np.array(features), np.array(target), cv=folds, groups=groups)


def claim(row) -> str:
    return re.search(r" Is the answer (.*)\? Use yes or no to answer\.$", row["problem"])[1]


def options(row) -> list[str]:
    return [line[3:] for line in row["problem"].split("\n")[-4:]]


@pytest.mark.parametrize("task", ["detection", "classify", "math"])
def test_claims_look_the_same_whether_true_or_false(open_rows, task):
    root, examples, sizes = open_rows
    rows = list(judge_rows(examples[task], sizes, root, seed=42))
    truth = [extract_answer(row["solution"]) == "yes" for row in rows]
    assert sum(truth) * 2 == len(rows) >= ROWS
    features = [looks(claim(row), row["image"]) for row in rows]
    for name, model in MODELS.items():
        assert_chance(predictions(model, features, truth) == truth, 0.5, f"judge, {task}, {name}")


@pytest.mark.parametrize("task", ["detection", "math"])
def test_the_right_option_looks_like_the_others(open_rows, task):
    root, examples, sizes = open_rows
    rows = list(choice_rows(examples[task], sizes, root, seed=42))
    letters = [extract_answer(row["solution"]) for row in rows]
    assert len(rows) >= ROWS
    counts = [letters.count(letter) for letter in "ABCD"]
    assert max(counts) - min(counts) <= 1
    each = [[looks(option, row["image"]) for option in options(row)] for row in rows]
    features = [np.ravel(row) for row in each]
    # Against the other options of its question: a rank says "the largest", "the middle one".
    ranks = [np.ravel(np.argsort(np.argsort(row, axis=0), axis=0)) for row in each]
    for name, model in MODELS.items():
        for kind, table in (("looks", features), ("ranks", ranks)):
            right = predictions(model, table, letters) == letters
            assert_chance(right, 0.25, f"choice, {task}, {kind}, {name}")


def test_a_label_is_as_often_right_as_wrong(open_rows):
    root, examples, sizes = open_rows
    rows = list(choice_rows(examples["classify"], sizes, root, seed=42))
    assert len(rows) >= ROWS
    features, right, sets = [], [], []
    for row in rows:
        letters = parse_options(extract_answer(row["solution"]))
        for letter, option in zip("ABCD", options(row), strict=True):
            features.append([*looks(option, row["image"]), LABELS.index(option), "ABCD".index(letter)])
            right.append(letter in letters)
            # The questions that share four labels stay in one fold: one of them is the other's negative.
            sets.append(" ".join(sorted(options(row))))
    expected = max(np.mean(right), 1 - np.mean(right))
    for name, model in MODELS.items():
        found = predictions(model, features, right, sets) == right
        assert_chance(found, expected, f"choice, classify, {name}")


def test_the_released_kind_of_distractors_is_found_out(open_rows):
    """The check can fail: x, y, width and height among corner boxes, as in Fig. 4 of the paper."""
    root, examples, sizes = open_rows
    rows = list(choice_rows(examples["detection"], sizes, root, seed=42))
    letters = [extract_answer(row["solution"]) for row in rows]
    features = []
    for row, gold in zip(rows, letters, strict=True):
        shown = []
        for letter, option in zip("ABCD", options(row), strict=True):
            x1, y1, x2, y2 = json.loads(option)
            shown += looks(option if letter == gold else f"[{x1}, {y1}, {x2 - x1}, {y2 - y1}]", row["image"])
        features.append(shown)
    found = predictions(MODELS["logistic regression"], features, letters) == letters
    assert found.mean() > 0.5
