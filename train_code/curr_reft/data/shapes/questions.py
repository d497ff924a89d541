"""Questions about the embedded world's scenes: open, judge and choice rows for the three tasks."""

import json
import random
from collections import Counter
from dataclasses import dataclass

from curr_reft.data.shapes.scenes import CELL, GRID, KINDS, Scene, Shape

LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """A problem and its gold answer, with the one-sentence thought that leads to it.

    Thoughts teach the tiny base model to look before it answers; rows on disk do not carry them.
    """

    task: str
    problem: str
    answer: str
    thought: str


def _box_text(box: tuple[int, ...]) -> str:
    return json.dumps(list(box))


def _labels_text(kinds: tuple[str, ...] | list[str]) -> str:
    return ", ".join(kinds)


@dataclass(frozen=True)
class _Detection:
    target: Shape
    others: tuple[tuple[int, int, int, int], ...]

    @property
    def thought(self) -> str:
        return f"The {self.target.name} is at the {self.target.place}."


def _detection(rng: random.Random, scene: Scene) -> _Detection:
    names = Counter(shape.name for shape in scene.shapes)
    target = rng.choice([shape for shape in scene.shapes if names[shape.name] == 1])
    boxes = [shape.box for shape in scene.shapes if shape is not target]
    # Boxes of the target's own size in the remaining cells, so that there are always enough wrong ones.
    x, y = target.box[0] % CELL, target.box[1] % CELL
    side = target.box[2] - target.box[0]
    taken = {(box[0] // CELL, box[1] // CELL) for box in (*boxes, target.box)}
    for column in range(GRID):
        for row in range(GRID):
            if (column, row) not in taken:
                left, top = column * CELL + x, row * CELL + y
                boxes.append((left, top, left + side, top + side))
    return _Detection(target, tuple(rng.sample(boxes[:3], 3)))


@dataclass(frozen=True)
class _Count:
    problem: str
    value: int

    @property
    def thought(self) -> str:
        return f"There are {self.value}."


def _count(rng: random.Random, scene: Scene) -> _Count:
    kinds = Counter(shape.kind for shape in scene.shapes)
    form = rng.choice(("all", "all but", "plus", "colour"))
    if form == "all":
        return _Count("How many shapes are in the picture?", len(scene.shapes))
    if form == "all but":
        kind = rng.choice(KINDS)
        return _Count(
            f"How many shapes other than {kind} are in the picture?", len(scene.shapes) - kinds[kind]
        )
    if form == "plus":
        first, second = rng.sample(KINDS, 2)
        problem = f"What is the number of {first} shapes plus the number of {second} shapes?"
        return _Count(problem, kinds[first] + kinds[second])
    colour = rng.choice([shape.colour for shape in scene.shapes])
    return _Count(
        f"How many {colour} shapes are in the picture?", sum(shape.colour == colour for shape in scene.shapes)
    )


_CLASSIFY = f"Which of these shapes appear in the picture: {', '.join(KINDS)}?"


def _classify_thought(scene: Scene) -> str:
    return f"I see {_labels_text(scene.kinds())}."


def open_questions(rng: random.Random, scene: Scene) -> list[Question]:
    """One open question per task about a scene."""
    found, count = _detection(rng, scene), _count(rng, scene)
    box = json.dumps({"bbox_2d": list(found.target.box)})
    problem = f"Please give the bounding box of the {found.target.name}."
    return [
        Question("detection", problem, box, found.thought),
        Question("classify", _CLASSIFY, _labels_text(scene.kinds()), _classify_thought(scene)),
        Question("math", count.problem, str(count.value), count.thought),
    ]


def judge_questions(rng: random.Random, scene: Scene) -> list[Question]:
    """One yes/no question per task; the claim is true in half of them and one step off in the rest."""
    found, count = _detection(rng, scene), _count(rng, scene)
    truths = [rng.random() < 0.5 for _ in range(3)]

    box = found.target.box if truths[0] else found.others[0]
    detection = f"Are the coordinates of the {found.target.name} {_box_text(box)}?"

    claimed = set(scene.kinds())
    if not truths[1]:
        # One label off: added or taken away, but never an empty claim.
        claimed ^= {rng.choice([kind for kind in KINDS if claimed != {kind}])}
    labels = _labels_text([kind for kind in KINDS if kind in claimed])
    classify = f"Are these exactly the shapes that appear in the picture: {labels}?"

    number = (
        count.value if truths[2] else rng.choice([n for n in (count.value - 1, count.value + 1) if n >= 0])
    )
    math = f"{count.problem} Is the answer {number}?"

    answers = ["yes" if truth else "no" for truth in truths]
    return [
        Question("detection", f"{detection} Use yes or no to answer.", answers[0], found.thought),
        Question("classify", f"{classify} Use yes or no to answer.", answers[1], _classify_thought(scene)),
        Question("math", f"{math} Use yes or no to answer.", answers[2], count.thought),
    ]


def _options(options: list[str]) -> str:
    return " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))


def choice_questions(rng: random.Random, scene: Scene) -> list[Question]:
    """One question with four options per task: one right box, every right label, one right number."""
    found, count = _detection(rng, scene), _count(rng, scene)

    boxes = rng.sample([found.target.box, *found.others], 4)
    detection = f"For the {found.target.name}, please select the most appropriate detection box. "
    detection += _options([_box_text(box) for box in boxes])

    present = rng.choice(scene.kinds())
    kinds = rng.sample([present, *rng.sample([kind for kind in KINDS if kind != present], 3)], 4)
    right = [letter for letter, kind in zip(LETTERS, kinds, strict=True) if kind in scene.kinds()]

    near = [n for n in range(count.value - 3, count.value + 4) if n >= 0 and n != count.value]
    numbers = rng.sample([count.value, *rng.sample(near, 3)], 4)
    return [
        Question("detection", detection, LETTERS[boxes.index(found.target.box)], found.thought),
        Question(
            "classify",
            f"Which of these shapes appear in the picture? {_options(kinds)}",
            ", ".join(right),
            _classify_thought(scene),
        ),
        Question(
            "math",
            f"{count.problem} {_options([str(number) for number in numbers])}",
            LETTERS[numbers.index(count.value)],
            count.thought,
        ),
    ]


def sum_questions(rng: random.Random, count: int) -> list[Question]:
    """Questions without an image: sums of two digits."""
    sums = [(rng.randint(1, 5), rng.randint(1, 4)) for _ in range(count)]
    return [Question("math", f"What is {a} plus {b}?", str(a + b), f"There are {a + b}.") for a, b in sums]
