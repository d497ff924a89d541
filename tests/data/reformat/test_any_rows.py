"""Whatever the open rows are: a valid row, or a bad record with its reason, and the promises kept."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

checked = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
sides = st.sampled_from([1, 2, 3, 7, 40, 640, 4000])
hostile = st.sampled_from(
    [
        *("<answer>", "<answer>x", "<img>", "</think>", '"', "\n", " \u2028 ", "naïve\r\n", "A. 1\nB. 2"),
        *("#2", "'"),
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def box_answers(draw, size):
    corners = []
    for side in size:
        number = st.integers(-2, side + 2) | st.floats(-1, side + 1).map(lambda value: round(value, 2))
        corners.append(sorted([draw(number), draw(number)]))
    (x1, x2), (y1, y2) = corners
    box = draw(st.sampled_from([[x1, y1, x2, y2], [0, 0, *size], [0, 0, 1, 1], [x2, y2, x1, y1]]))
    form = draw(st.sampled_from([json.dumps, str, lambda box: json.dumps({"bbox_2d": box})]))
    several = draw(st.sampled_from([box, box, [box], [box, box]]))
    return form(several) if several is box else json.dumps(several)


@st.composite
def detection(draw):
    sizes = draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=3))
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        index = draw(st.integers(0, len(sizes) - 1))
        answer = draw(st.one_of(*[box_answers(sizes[index])] * 9, st.just("No Objects"), hostile))
        rows.append((f"{index}.png", answer))
    return sizes, rows


labels = st.sampled_from(["cat", "Dog", "traffic light", "TV", "bus", "rock and roll", "a, b", "hair  drier"])
label_answers = st.lists(labels | hostile, max_size=5).flatmap(
    lambda found: st.sampled_from([json.dumps(found), str(found), ", ".join(found), "; ".join(found)])
)
values = (
    st.integers(-3, 40).map(str)
    | st.sampled_from(
        [
            *("0.5", "1/2", "\\frac{1}{2}", "50%", "30°", "30", "45^\\circ", "\\sqrt{2}", "2^0", "1"),
            *("1/0", "yes", "No"),
        ]
    )
    | st.sampled_from(
        ["9" * 30, "9" * 400, "0.0000001", "0.0000002", "-0.5", "+5", "x", "(B)", "b", "[C]", "A, A"]
    )
    | hostile
)
problems = st.sampled_from(
    [
        "Which?",
        "Which?\nChoices:\n(A) 30\n(B) 40",
        "Which?\nA: 30\nB: 40\nC: 50°\nD: x\nHint: think",
        "A. 1\nB. 1",
    ]
)


@checked
@given(detection(), st.integers(0, 3))
def test_detection(judged, chosen, open_rows, drawn, seed):
    sizes, rows = drawn
    examples = open_rows("detection", [answer for _, answer in rows], images=[image for image, _ in rows])
    images = {example.image: sizes[int(example.image.stem)] for example in examples}
    judged(examples, images, seed)
    chosen(examples, images, seed)


@checked
@given(st.lists(label_answers, min_size=1, max_size=12), st.integers(0, 3))
def test_classification(judged, chosen, open_rows, answers, seed):
    examples = open_rows("classify", answers)
    judged(examples, seed=seed)
    chosen(examples, seed=seed)


@checked
@given(st.lists(st.tuples(values, problems), min_size=1, max_size=8), st.integers(0, 3))
def test_math(judged, chosen, open_rows, rows, seed):
    examples = open_rows("math", *zip(*rows, strict=True))
    judged(examples, seed=seed)
    chosen(examples, seed=seed)


@checked
@given(st.lists(hostile, min_size=1, max_size=6).map("".join), hostile)
def test_hostile_problems(judged, chosen, open_rows, problem, end):
    # Blank problems are refused where rows are read.
    problem = f"{problem}?{end}"
    examples = open_rows("math", ["1", "2", "3", "4", "B"], problems=[problem] * 5)
    judged(examples)
    chosen(examples)
