"""What a suite's rows become: prompts, the rows chosen, golds in the frame of what is shown."""

import json
import random

import pytest
from PIL import Image

from curr_reft.data.suites import Suite, load_suites, select_suites
from curr_reft.errors import InputError
from curr_reft.evaluation.requests import Images, read_suite
from curr_reft.rewards import released_evaluation
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task, scorings

REFGTA = Suite("refgta", "detection", "out", "rows.json", "refgta")
DETECTION = Suite("detection_in", "detection", "in", "rows.jsonl", "detection_in")
MATH = Suite("math_out", "math", "out", "rows.jsonl", "math_out")
ROW = {
    "problem": "Find the man.",
    "image": "final/a.png",
    "solution": [700, 320, 940, 880],
    "normalized_solution": [365, 296, 490, 815],
    "resize_solution": [318, 145, 427, 399],
}


def ask(suite, root, rows, prompts="training", sample_num=1000, seed=42):
    path = root / suite.json_path
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    return read_suite(suite, root, prompts, sample_num, seed, "budget", None, Images())


@pytest.fixture
def image(tmp_path):
    def draw(name="a.png", size=(100, 80)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, "grey").save(path)
        return path

    return draw


def test_released_prompts_are_the_evaluators_own(golden):
    suites = {"eval_main": ("detection_in", "classify_in", "math_in"), "eval_refgta": ("refgta",)}
    rows = [row for row in golden("prompts") if row["stage"] in suites and row["task"] != "coco_vqa"]
    assert len(rows) == 8
    for row in rows:
        known = [scorings()[name] for name in suites[row["stage"]]]
        (scoring,) = (scoring for task, scoring in known if task.name == row["task"])
        assert scoring.released_asking.prompt(row["problem"]) == row["prompt"]


def test_training_prompts_and_budgets_are_those_of_the_open_stage(image, tmp_path):
    image("final/a.png", (1920, 1080))
    for suite in (DETECTION, REFGTA, MATH):
        (asked,) = ask(suite, tmp_path, [ROW if suite is REFGTA else {**ROW, "solution": [1, 2, 3, 4]}])
        asking = find_task(suite.task).asking(STAGES["open"])
        assert (asked.prompt, asked.budget) == (asking.prompt("Find the man."), asking.budget)


def test_the_released_budget_is_for_math_alone(image, tmp_path):
    image(size=(2000, 500))
    row = {"problem": "p", "image": "a.png", "solution": "<answer>[1, 2, 30, 40]</answer>"}
    assert ask(DETECTION, tmp_path, [row], "released")[0].shown == (2000, 500)
    shown = ask(MATH, tmp_path, [{**row, "solution": 3}], "released")[0].shown
    assert shown[0] * shown[1] <= 410_000
    assert ask(MATH, tmp_path, [{**row, "solution": 3}])[0].shown == shown


def test_rows_are_those_of_the_release_in_the_files_order(image, tmp_path):
    image()
    rows = [{"problem": f"{number}?", "image": "a.png", "solution": number} for number in range(30)]
    shuffled = list(rows)
    random.Random(42).shuffle(shuffled)
    asked = ask(MATH, tmp_path, rows, sample_num=7)
    assert {row.problem for row in asked} == {row["problem"] for row in shuffled[:7]}
    assert [row.golds["solution"] for row in asked] == sorted(row["solution"] for row in shuffled[:7])
    assert [row.id for row in asked] == [f"rows.jsonl:{row.golds['solution'] + 1}" for row in asked]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "Is <|vision_start|> it?"}, "problem: contains <|vision_start|>, a special token"),
        ({"problem": "Is it <image>?"}, "problem: contains <image>"),
        ({"solution": "<answer>3<|im_end|></answer>"}, "solution: contains <|im_end|>, a special token"),
    ],
)
def test_texts_that_are_more_than_text_are_refused_with_their_place(image, tmp_path, change, message):
    image()
    row = {"problem": "<image>How many?", "image": "a.png", "solution": "<answer>3</answer>"}
    assert ask(MATH, tmp_path, [row])[0].problem == "How many?"
    with pytest.raises(InputError) as raised:
        ask(MATH, tmp_path, [row, {**row, **change}])
    assert str(raised.value).startswith(f"{tmp_path / 'rows.jsonl'}:2: {message}")


def test_boxes_move_with_an_image_that_is_shrunk(image, tmp_path):
    image(size=(1600, 1200))
    row = {"problem": "Find it.", "image": "a.png", "solution": "<answer>[160, 120, 800, 600]</answer>"}
    (asked,) = ask(DETECTION, tmp_path, [row])
    width, height = asked.shown
    assert asked.frame == asked.shown == asked.open_image().size
    assert width * height <= 420_000
    box = json.loads(asked.golds["solution"][len("<answer>") : -len("</answer>")])
    assert box == pytest.approx([width / 10, height / 10, width / 2, height / 2], abs=0.5)


def test_boxes_of_a_gold_that_is_a_list_move_too(image, tmp_path):
    image(size=(1600, 1200))
    row = {"problem": "Find it.", "image": "a.png", "solution": [160, 120, 800, 600]}
    (asked,) = ask(DETECTION, tmp_path, [row])
    (text,) = ask(DETECTION, tmp_path, [{**row, "solution": "[160, 120, 800, 600]"}])
    assert asked.golds == text.golds != {"solution": row["solution"]}


@pytest.mark.parametrize("size", [(1920, 1080), (872, 490)])
def test_refgta_golds_are_in_the_frame_of_what_is_shown(size, image, tmp_path):
    image("final/a.png", size)
    (asked,) = ask(REFGTA, tmp_path, [ROW])
    gold = asked.golds["resize_solution"]
    expected = [part * side / 1000 for part, side in zip([365, 296, 490, 815], asked.shown * 2, strict=True)]
    assert gold == pytest.approx(expected, abs=2)
    answer = f"<think>t</think><answer>{json.dumps(gold)}</answer>"
    assert scorings()["refgta"][1].score(answer, asked.golds).reward == 1
    assert released_evaluation.score("refgta", answer, asked.golds).reward == 1
    original = f"<think>t</think><answer>{json.dumps(ROW['solution'])}</answer>"
    assert scorings()["refgta"][1].score(original, asked.golds).reward == 0
    assert released_evaluation.score("refgta", original, asked.golds).reward == 1


def test_released_prompts_take_refgtas_smaller_images(image, tmp_path):
    image("final/a.png", (1920, 1080))
    assert REFGTA.rules.released_image("final/final.png") == "final_resize/final.png"
    with pytest.raises(InputError, match="final_resize"):
        ask(REFGTA, tmp_path, [ROW], "released")
    image("final_resize/a.png", (872, 490))
    (asked,) = ask(REFGTA, tmp_path, [ROW], "released")
    assert asked.shown == (872, 490)
    assert asked.golds["resize_solution"] == ROW["resize_solution"]
    assert asked.prompt.endswith("Output the final answer in JSON format.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize_solution": None}, r"rows.json\[0\]: resize_solution: expected"),
        ({"solution": [1, 2, 3]}, "solution: expected"),
        ({"solution": [1, 2, 3, True]}, "solution: expected"),
        ({"normalized_solution": [float("nan")] * 4}, "is it the right image"),
        ({"normalized_solution": [0, 0, 10, 10]}, "is it the right image"),
        ({"image": "../a.png"}, "not below the image root"),
        ({"problem": ""}, "problem: empty"),
    ],
)
def test_bad_refgta_rows_are_named(change, message, image, tmp_path):
    image("final/a.png", (1920, 1080))
    with pytest.raises(InputError, match=message):
        ask(REFGTA, tmp_path, [{**ROW, **change}])


def test_a_row_without_its_gold_is_named(image, tmp_path):
    image()
    with pytest.raises(InputError, match=r"rows.jsonl:2: solution: missing"):
        ask(
            MATH,
            tmp_path,
            [{"problem": "p", "image": "a.png", "solution": 1}, {"problem": "p", "image": "a.png"}],
        )


def test_an_answer_depends_on_prompt_and_image_and_not_on_the_gold(image, tmp_path):
    path = image()
    row = {"problem": "p", "image": "a.png", "solution": 1}
    (first,), (other_gold,), (other_problem,) = (
        ask(MATH, tmp_path, [{**row, **change}]) for change in ({}, {"solution": 2}, {"problem": "q"})
    )
    assert first.content == other_gold.content != other_problem.content
    Image.new("RGB", (100, 80), "red").save(path)
    assert ask(MATH, tmp_path, [row])[0].content != first.content


def test_suites_are_selected_by_name_task_and_domain(root):
    suites = load_suites(root / "configs/eval/released.yaml")

    def names(*chosen):
        return [suite.name for suite in select_suites(suites, chosen)]

    assert names("all") == ["detection_in", "classify_in", "math_in", "refgta", "classify_out", "math_out"]
    assert names("out") == ["refgta", "classify_out", "math_out"]
    assert names("math", "refgta") == ["math_in", "refgta", "math_out"]
    assert names("math,refgta", "classify_in") == ["classify_in", "math_in", "refgta", "math_out"]
    assert names("detection_out") == ["refgta"]
    assert names("classify_in", "classify_in") == ["classify_in"]
    with pytest.raises(InputError, match=r"--suites maths: no such suite; there are detection_in"):
        names("all", "maths")
