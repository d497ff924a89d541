"""The embedded world: deterministic, in the released format, with golds that the images bear out."""

import json
import random
from collections import Counter

import numpy as np
import pytest

from curr_reft.data.mixture import load_mixture
from curr_reft.data.shapes.__main__ import QUESTIONS, write_world
from curr_reft.data.shapes.scenes import (
    COLOURS,
    EASY,
    IN_DOMAIN,
    KINDS,
    OUT_OF_DOMAIN,
    UNSEEN_PAIRS,
    draw,
    sample_scene,
)
from curr_reft.rewards.paper import score
from curr_reft.stages import STAGES


def scenes(domain, count, seed=0):
    rng = random.Random(seed)
    return [sample_scene(rng, domain) for _ in range(count)]


def test_boxes_are_tight_around_the_drawn_shape():
    for scene in scenes(IN_DOMAIN, 40):
        image = np.asarray(draw(scene)).astype(int)
        for shape in scene.shapes:
            x1, y1, x2, y2 = shape.box
            painted = (np.abs(image - COLOURS[shape.colour]).sum(-1) < 40)[y1 - 1 : y2 + 1, x1 - 1 : x2 + 1]
            ys, xs = np.nonzero(painted)
            drawn = (x1 - 1 + xs.min(), y1 - 1 + ys.min(), x1 + xs.max(), y1 + ys.max())
            # A triangle's tip is thinner than a pixel.
            assert np.abs(np.array(drawn) - shape.box).max() <= 2


def test_domains_differ_as_described():
    inside = {(shape.colour, shape.kind) for scene in scenes(IN_DOMAIN, 500) for shape in scene.shapes}
    outside = {(shape.colour, shape.kind) for scene in scenes(OUT_OF_DOMAIN, 500) for shape in scene.shapes}
    assert not inside & UNSEEN_PAIRS
    assert outside >= UNSEEN_PAIRS
    assert {scene.ground for scene in scenes(IN_DOMAIN, 50)}.isdisjoint(OUT_OF_DOMAIN.grounds)
    assert max(len(scene.shapes) for scene in scenes(EASY, 200)) <= 3


@pytest.mark.parametrize("stage", list(STAGES))
def test_gold_answers_score_full_and_agree_with_the_scene(stage):
    rng = random.Random(3)
    for scene in scenes(IN_DOMAIN, 100):
        for question in QUESTIONS[stage](rng, scene):
            gold = f"<answer>{question.answer}</answer>"
            completion = f"<think>{question.thought}</think>{gold}"
            assert score(stage, question.task, completion, gold).reward == 1
            if stage == "open" and question.task == "classify":
                assert set(question.answer.split(", ")) == {shape.kind for shape in scene.shapes}
            if stage == "open" and question.task == "detection":
                named = [shape for shape in scene.shapes if f"the {shape.name}." in question.problem]
                assert [list(shape.box) for shape in named] == [json.loads(question.answer)["bbox_2d"]]


def test_judge_and_choice_golds_are_balanced():
    rng = random.Random(4)
    answers = {"judge": {}, "choice": {}}
    for scene in scenes(IN_DOMAIN, 1000):
        for stage, by_task in answers.items():
            for question in QUESTIONS[stage](rng, scene):
                by_task.setdefault(question.task, Counter())[question.answer] += 1
    for task in ("detection", "classify", "math"):
        assert 430 <= answers["judge"][task]["yes"] <= 570
    for task in ("detection", "math"):
        assert all(190 <= answers["choice"][task][letter] <= 310 for letter in "ABCD")


def test_choice_options_are_distinct():
    rng = random.Random(5)
    for scene in scenes(IN_DOMAIN, 300):
        detection, classify, math = QUESTIONS["choice"](rng, scene)
        boxes = [part.split("]")[0] for part in detection.problem.split("[")[1:]]
        assert len(set(boxes)) == len(boxes) == 4
        for question in (classify, math):
            options = [part.rsplit(" ", 1)[0] for part in question.problem.split(". ")[1:]]
            assert len(set(options)) == 4


def test_world_on_disk_is_deterministic_and_loads(tmp_path, root):
    for name in ("one", "two"):
        write_world(tmp_path / name, train=4, val=1, test=2, seed=9)
    first = sorted(
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()
    )
    assert all(
        (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in first
    )
    for folder in ("stage1_judge", "stage2_multi_choice", "others"):
        mixture = load_mixture(
            root / f"configs/data/{folder}/shapes.yaml", tmp_path / "one", tmp_path / "one", seed=1
        )
        assert len(mixture.train) == 12
        assert len(mixture.val) == 3


def test_no_image_is_in_two_splits(world):
    digests = {}
    for path in world.glob("images/*/*.png"):
        digests.setdefault(path.read_bytes(), set()).add(path.parent.name)
    assert all(len(folders) == 1 for folders in digests.values())


def test_kinds_are_listed_in_a_fixed_order():
    for scene in scenes(IN_DOMAIN, 20):
        assert list(scene.kinds()) == [kind for kind in KINDS if kind in scene.kinds()]
