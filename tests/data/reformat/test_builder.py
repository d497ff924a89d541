import random
from collections import Counter, defaultdict

import pytest

from curr_reft.answers.boxes import parse_boxes
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.region import extract_answer
from curr_reft.boxes import iou
from curr_reft.data.reformat.builder import choice_rows, judge_rows

VGA = (640, 480)
LABELS = ["person", "car", "dog", "traffic light", "cup", "tv"]


def sized(examples, size=VGA):
    return {example.image: size for example in examples}


def random_box(rng, size=VGA):
    corners = [sorted(rng.sample(range(side + 1), 2)) for side in size]
    return str([corners[0][0], corners[1][0], corners[0][1], corners[1][1]])


def random_answer(task, rng):
    if task == "detection":
        return random_box(rng)
    if task == "classify":
        return ", ".join(rng.sample(LABELS, rng.choice([1, 1, 2, 3])))
    return str(rng.randint(0, 99))


@pytest.mark.parametrize(
    ("task", "answer", "reason"),
    [
        ("detection", "No Objects", "solution: expected one box with an area, found 'No Objects'"),
        ("detection", "[[0, 0, 9, 9], [0, 0, 5, 5]]", "solution: expected one box with an area"),
        ("detection", "[9, 9, 9, 20]", "solution: expected one box with an area"),
        ("detection", "[20, 20, 9, 9]", "solution: expected one box with an area"),
        ("detection", "a dog", "solution: expected one box with an area"),
        ("detection", "[0, 0, 642, 9]", "box [0.0, 0.0, 642.0, 9.0]: leaves its image of 640x480 pixels"),
        ("detection", "[0, 0.1, 0.4, 1]", "box [0.0, 0.1, 0.4, 1.0]: inside one pixel; it looks normalised"),
        ("detection", "[-1, 0, 0, 9]", "solution: '[-1, 0, 0, 9]' becomes another answer"),
        ("detection", "[640, 0, 641, 9]", "solution: '[640, 0, 641, 9]' becomes another answer"),
        ("detection", "[3.4, 3.4, 3.6, 3.6]", "solution: '[3.4, 3.4, 3.6, 3.6]' becomes another answer"),
        ("classify", "", "solution: an empty answer"),
        ("classify", "[]", "solution: an empty label set"),
        ("classify", " , and ;", "solution: an empty label set"),
        ("classify", '["rock and roll"]', "solution: '[\"rock and roll\"]' becomes another answer"),
        ("classify", '["a, b"]', "solution: '[\"a, b\"]' becomes another answer"),
        ("math", " \n", "solution: an empty answer"),
        ("math", ".", "solution: '.' becomes another answer"),
        ("math", "1/0", "solution: the reward cannot compare '1/0'"),
        ("math", "(x+y+z+w)^{99}", "solution: the reward cannot compare"),
        ("math", "E", "solution: option E is none of A, B, C, D"),
        ("math", "x", "solution: option X is none of A, B, C, D"),
    ],
)
def test_an_answer_that_nothing_can_be_asked_about_is_a_bad_record(
    judged, chosen, open_rows, task, answer, reason
):
    rng = random.Random(1)
    examples = open_rows(task, [answer, *(random_answer(task, rng) for _ in range(8))])
    for build in (judged, chosen):
        asked, reasons = build(examples, sized(examples))
        assert len(asked) == 8
        assert list(reasons) == [examples[0].id]
        assert reasons[examples[0].id].startswith(reason)


def test_a_gold_letter_must_be_listed(judged, chosen, open_rows):
    problem = "How much?\nChoices:\n(A) 30\n(B) 40"
    examples = open_rows("math", ["A", "(B)", "C"], [problem] * 3)
    for build in (judged, chosen):
        assert build(examples)[1] == {examples[2].id: "solution: option C is none of A, B"}


def test_a_box_without_an_image_is_a_bad_record(judged, open_rows):
    examples = open_rows("detection", ["[0, 0, 9, 9]", "[0, 0, 9, 9]"])
    assert judged(examples, sized(examples[:1]))[1] == {examples[1].id: "image: its image cannot be used"}


@pytest.mark.parametrize(
    ("task", "answer", "claim"),
    [
        ("detection", "[10, 20, 30, 40]", "[10, 20, 30, 40]"),
        ("detection", '{"bbox_2d": [10, 20, 30, 40]}', "[10, 20, 30, 40]"),
        ("detection", '[{"bbox_2d": [10, 20, 30, 40], "label": "dog"}]', "[10, 20, 30, 40]"),
        ("detection", "[[10, 20, 30, 40]]", "[10, 20, 30, 40]"),
        ("detection", "[\n  10.2, 20.7,\n  29.9, 40.49\n]", "[10, 21, 30, 40]"),
        ("detection", "[-1, -0.5, 641, 480.9]", "[0, 0, 640, 480]"),
        ("classify", '["Traffic  Light", "DOG"]', "dog, traffic light"),
        ("classify", "Dog and traffic light.", "dog, traffic light"),
        ("math", "\\frac{1}\n{2}", "\\frac{1} {2}"),
        ("math", "  yes ", "yes"),
        ("math", "[B]", "B"),
        ("math", "b.", "B"),
        ("math", "A, A", "A"),
        ("math", "9" * 400, "9" * 400),
        ("math", "-5°", "-5°"),
        ("math", "<x>", "<x>"),
    ],
)
def test_how_an_answer_is_spelled(judged, open_rows, task, answer, claim):
    others = {"detection": "[300, 300, 400, 400]", "classify": "cup", "math": "C"}
    examples = open_rows(task, [answer, others[task], "7" if task == "math" else answer])
    claims, reasons = judged(examples, sized(examples))
    assert not reasons
    assert (claim, True) in claims[examples[0].id] + claims[examples[2].id] or task == "math"
    assert claim in {text for asked in claims.values() for text, _ in asked}


@pytest.mark.parametrize("task", ["detection", "classify", "math"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 9])
def test_few_rows(judged, chosen, open_rows, task, count):
    for seed in range(5):
        rng = random.Random(seed)
        examples = open_rows(task, [random_answer(task, rng) for _ in range(count)])
        claims, reasons = judged(examples, sized(examples), seed)
        assert sum(map(len, claims.values())) <= 2 * count
        questions, unasked = chosen(examples, sized(examples), seed)
        assert sum(map(len, questions.values())) <= 5 * count
        if task != "classify":
            assert not reasons
            assert not unasked


@pytest.mark.parametrize(
    ("task", "answer", "size"),
    [
        ("detection", "[0, 0, 640, 480]", VGA),
        ("detection", "[10, 10, 30, 30]", VGA),
        ("detection", "[1, 0, 2, 1]", (2, 2)),
        ("math", "1", None),
        ("math", "0", None),
        ("math", "-1", None),
        ("math", "0.50", None),
        ("math", "\\frac{1}{2}", None),
        ("math", "30°", None),
        ("math", "9" * 30, None),
    ],
)
def test_one_answer_everywhere_gets_wrong_ones_that_are_made_up(
    judged, chosen, open_rows, task, answer, size
):
    examples = open_rows(task, [answer] * 9)
    claims, reasons = judged(examples, sized(examples, size))
    assert not reasons
    assert [Counter(truth for _, truth in claims[example.id]) for example in examples] == [
        {True: 1, False: 1}
    ] * 9
    questions, unasked = chosen(examples, sized(examples, size))
    assert not unasked
    assert [len(questions[example.id]) for example in examples] == [1] * 9


@pytest.mark.parametrize(
    ("task", "answer", "size"),
    [
        ("detection", "[0, 0, 1, 2]", (1, 2)),
        ("classify", "dog", None),
        ("math", "yes", None),
        ("math", "A blue one", None),
    ],
)
def test_an_answer_that_nothing_else_can_be_made_of(judged, chosen, open_rows, task, answer, size):
    examples = open_rows(task, [answer] * 3)
    for build in (judged, chosen):
        asked, reasons = build(examples, sized(examples, size))
        assert not asked
        assert set(reasons.values()) == {
            "no wrong answer to it can be made, and no other row's answer is one"
        }


def test_yes_and_no_lend_each_other(judged, chosen, open_rows):
    examples = open_rows("math", ["yes", "No", "no", "Yes", "YES.", "no"])
    assert not judged(examples)[1]
    assert len(chosen(examples)[1]) == 6


def test_other_spellings_of_one_number_are_no_wrong_answers(judged, chosen, open_rows):
    spellings = ["0.5", "1/2", "\\frac{1}{2}", "2^{-1}", "\\frac12", "$0.50$"]
    examples = open_rows("math", spellings)
    claims, reasons = judged(examples)
    assert not reasons
    assert all(len(asked) == 2 for asked in claims.values())
    assert not chosen(examples)[1]


@pytest.mark.parametrize("share", [0.6, 0.95])
@pytest.mark.parametrize(
    ("task", "common", "others"),
    [
        ("math", "1", lambda rng: str(rng.randint(2, 40))),
        ("classify", "person", lambda rng: ", ".join(rng.sample(LABELS, 2))),
        ("detection", "[0, 0, 630, 470]", lambda rng: f"[5, {rng.randint(0, 400)}, 90, 479]"),
    ],
)
def test_a_frequent_answer_is_false_as_often_as_true(judged, chosen, open_rows, task, common, others, share):
    rng = random.Random(3)
    examples = open_rows(task, [common if rng.random() < share else others(rng) for _ in range(400)])
    claims, reasons = judged(examples, sized(examples))
    assert not reasons
    truths = Counter(truth for asked in claims.values() for claim, truth in asked if claim == common)
    assert abs(truths[True] - truths[False]) <= 0.1 * truths.total()
    assert sum(map(len, claims.values())) <= 2 * len(examples)
    assert max(map(len, claims.values())) <= 50
    questions, unasked = chosen(examples, sized(examples))
    assert len(unasked) <= (0 if task != "classify" else 5)
    assert sum(map(len, questions.values())) <= 5 * len(examples)


@pytest.mark.parametrize("task", ["detection", "math"])
def test_in_four_rows_that_share_options_each_is_right_once(chosen, open_rows, task):
    rng = random.Random(4)
    answers = list(dict.fromkeys(random_answer(task, rng) for _ in range(200)))[:80]
    examples = open_rows(task, answers)
    questions, _ = chosen(examples, sized(examples))
    shared = defaultdict(list)
    for [(options, [right])] in questions.values():
        shared[frozenset(options)].append(options[right])
    whole = [right for options, right in shared.items() if sorted(right) == sorted(options)]
    assert len(whole) >= 18
    assert sum(map(len, whole)) >= 72


def test_sets_of_one_label_share_four_labels(chosen, open_rows):
    rng = random.Random(4)
    examples = open_rows("classify", [f"label {rng.randrange(80)}" for _ in range(80)])
    questions, reasons = chosen(examples)
    assert not reasons
    shared = defaultdict(Counter)
    for asked in questions.values():
        for options, right in asked:
            assert len(right) == 1
            shared[frozenset(options)][options[right[0]]] += 1
    assert all(len(right) == 4 and len(set(right.values())) == 1 for right in shared.values())


def test_a_vocabulary_of_less_than_four_labels_has_no_choice(judged, chosen, open_rows):
    examples = open_rows("classify", ["cat", "dog", "cat, dog", "dog, tv", "tv"])
    assert not judged(examples)[1]
    assert len(chosen(examples)[1]) == 5


def false_claims(judged, examples):
    claims, _ = judged(examples, sized(examples))
    return [
        (claim, extract_answer(example.solution))
        for example in examples
        for claim, truth in claims[example.id]
        if not truth
    ]


def test_false_numbers_are_near_the_gold(judged, open_rows):
    numbers = random.Random(5).sample(range(1000), 200)
    false = false_claims(judged, open_rows("math", list(map(str, numbers))))
    apart = sorted(abs(int(claim) - int(gold)) for claim, gold in false)
    assert apart[len(apart) // 2] <= 15


def test_false_label_sets_are_one_label_off_where_the_rows_allow(judged, open_rows):
    rng = random.Random(5)
    answers = [", ".join(sorted(rng.sample(LABELS, rng.choice([1, 2])))) for _ in range(200)]
    false = false_claims(judged, open_rows("classify", answers))
    apart = [len(parse_labels(claim) ^ parse_labels(gold)) for claim, gold in false]
    assert apart.count(1) >= 0.9 * len(apart)


def test_false_boxes_are_of_like_size(judged, open_rows):
    rng = random.Random(6)
    false = false_claims(judged, open_rows("detection", [random_box(rng) for _ in range(200)]))
    ratios = []
    for texts in false:
        areas = [(x2 - x1) * (y2 - y1) for [(x1, y1, x2, y2)] in map(parse_boxes, texts)]
        ratios.append(max(areas) / min(areas))
    assert sorted(ratios)[len(ratios) // 2] < 2


def test_false_boxes_are_of_the_same_image_where_it_has_others(judged, open_rows):
    rng = random.Random(6)
    left, right = "[0, 0, 300, 400]", "[600, 0, 640, 40]"
    answers = [left, right] * 20 + [random_box(rng) for _ in range(20)]
    images = [f"{number // 2}.png" for number in range(40)] + [f"{number}.jpg" for number in range(20)]
    false = false_claims(judged, open_rows("detection", answers, images=images))
    of_pairs = [claim for claim, gold in false if gold in (left, right)]
    assert sum(claim in (left, right) for claim in of_pairs) >= 0.5 * len(of_pairs)


def test_places_are_dealt_across_blocks(open_rows, tmp_path):
    rng = random.Random(7)
    examples = open_rows("detection", [random_box(rng) for _ in range(2055)])
    rows = list(choice_rows(examples, sized(examples), tmp_path, 1))
    counts = Counter(extract_answer(row["solution"]) for row in rows)
    assert len(rows) >= 2055
    assert max(counts.values()) - min(counts.values()) <= 1


def test_options_that_a_problem_lists_are_reordered(open_rows, tmp_path):
    problem = "Find x.\nChoices:\n(A) 30°\n(B) 40°\n (C)  $50$ \n(D) none\nThink."
    examples = open_rows("math", list("ABCD") * 3, [problem] * 12)
    rows = list(choice_rows(examples, {}, tmp_path, 1))
    assert [row["id"] for row in rows] == [f"choice:{example.id}" for example in examples]
    assert Counter(extract_answer(row["solution"]) for row in rows) == dict.fromkeys("ABCD", 3)
    texts = dict(zip("ABCD", ["30°", "40°", "$50$", "none"], strict=True))
    for row, example in zip(rows, examples, strict=True):
        before, *options, after = row["problem"].removeprefix("Find x.\n").split("\n")
        assert (before, after) == ("Choices:", "Think.")
        assert [option[:3] for option in options] == ["A. ", "B. ", "C. ", "D. "]
        right = options["ABCD".index(extract_answer(row["solution"]))]
        assert right[3:] == texts[extract_answer(example.solution)]
    assert len({row["problem"] for row in rows}) > 4


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("Which?", "problem: its options are not listed from A on, a line each"),
        ("Which? (A) 1 (B) 2", "problem: its options are not listed from A on, a line each"),
        ("Which?\nA: 30\nB: 30.0", "problem: two of its options are equal"),
        ("Which?\nA: red\nB: Red", "problem: two of its options are equal"),
    ],
)
def test_a_letter_without_usable_options_is_judged_but_not_chosen(judged, chosen, open_rows, problem, reason):
    examples = open_rows("math", ["A", "B"], [problem] * 2)
    assert not judged(examples)[1]
    assert set(chosen(examples)[1].values()) == {reason}


def test_a_row_comes_out_as_the_reader_expects_it(open_rows, tmp_path):
    examples = open_rows("math", ["7", "8"], ["How many?"] * 2, ["a/1.png", "a/2.png"])
    rows = list(judge_rows(examples, {}, examples[0].image.parent.parent, 42))
    assert {row["image"] for row in rows} == {"a/1.png", "a/2.png"}
    assert all(set(row) == {"id", "problem", "solution", "task", "image"} for row in rows)
    assert [row["id"].partition("#")[0] for row in rows] == sorted(
        row["id"].partition("#")[0] for row in rows
    )
    assert "How many? Is the answer 7? Use yes or no to answer." in {row["problem"] for row in rows}
    assert {row["solution"] for row in rows} == {"<answer>yes</answer>", "<answer>no</answer>"}


@pytest.mark.parametrize("task", ["detection", "classify", "math"])
def test_another_seed_asks_otherwise(open_rows, tmp_path, task):
    rng = random.Random(8)
    examples = open_rows(task, [random_answer(task, rng) for _ in range(30)])
    for build in (judge_rows, choice_rows):
        found = [list(build(examples, sized(examples), tmp_path, seed)) for seed in (1, 2)]
        assert found[0] != found[1]


def test_tiny_images_of_many_sizes(judged, chosen, open_rows):
    rng = random.Random(10)
    sizes = [(rng.randint(2, 12), rng.randint(2, 12)) for _ in range(300)]
    examples = open_rows("detection", [random_box(rng, size) for size in sizes])
    images = {example.image: size for example, size in zip(examples, sizes, strict=True)}
    judged(examples, images)
    questions, reasons = chosen(examples, images)
    assert len(reasons) < 10
    overlaps = [
        iou(*parse_boxes(options[right[0]]), *parse_boxes(extract_answer(example.solution)))
        for example in examples
        for options, right in questions[example.id]
    ]
    assert min(overlaps) == 1
