"""Open rows without images, and what must hold of the judge and choice rows built from them."""

from collections import Counter, defaultdict
from itertools import combinations, permutations
from pathlib import Path

import pytest

from curr_reft.answers import maths
from curr_reft.answers.boxes import parse_boxes
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.options import LETTERS, listed_options, parse_gold_options, parse_options
from curr_reft.answers.region import extract_answer
from curr_reft.boxes import iou
from curr_reft.data.reformat.builder import choice_rows, judge_rows
from curr_reft.data.rows import BadRecord, write_rows
from curr_reft.data.schema import Example, read_examples
from curr_reft.rewards.paper import check_gold, score
from curr_reft.tasks.detection import MAX_IOU

ROOT = Path("images").absolute()


@pytest.fixture(scope="session")
def open_rows():
    """Examples of one task from their answers, each about an image of its own unless `images` says more."""

    def examples(task, answers, problems=None, images=None):
        problems = problems or [f"What about {number}?" for number in range(len(answers))]
        images = images or [f"{number}.png" for number in range(len(answers))]
        return [
            Example(f"{task}.jsonl:{number}", problem, f"<answer>{answer}</answer>", task, ROOT / image)
            for number, (answer, problem, image) in enumerate(zip(answers, problems, images, strict=True), 1)
        ]

    return examples


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """Builds judge rows, checks them, and returns each example's claims as `(claim, truth)`, and reasons."""
    path = tmp_path_factory.mktemp("judged") / "rows.jsonl"

    def build(examples, sizes=None, seed=42):
        outcomes = list(judge_rows(examples, sizes or {}, ROOT, seed))
        assert outcomes == list(judge_rows(examples, sizes or {}, ROOT, seed))
        by_id = {example.id: example for example in examples}
        claims, reasons = defaultdict(list), {}
        for outcome in outcomes:
            if isinstance(outcome, BadRecord):
                assert outcome.where not in reasons
                reasons[outcome.where] = outcome.reason
                continue
            example = by_id[_source(outcome, "judge")]
            before, after = f"{example.problem} Is the answer ", "? Use yes or no to answer."
            assert outcome["problem"].startswith(before)
            assert outcome["problem"].endswith(after)
            claim = outcome["problem"][len(before) : -len(after)]
            assert claim == " ".join(claim.split())
            truth = {"yes": True, "no": False}[extract_answer(outcome["solution"])]
            assert_truth(claim, example, truth)
            claims[example.id].append((claim, truth))
        assert_all_rows_are_asked(examples, claims, reasons)
        truths = Counter(
            (by_id[source].task, truth) for source, asked in claims.items() for _, truth in asked
        )
        for task in {example.task for example in examples}:
            assert truths[task, True] == truths[task, False]
        assert_valid("judge", [row for row in outcomes if isinstance(row, dict)], path)
        return claims, reasons

    return build


@pytest.fixture(scope="session")
def chosen(tmp_path_factory):
    """As `judged`, for choice rows: questions as `(options, right)`."""
    path = tmp_path_factory.mktemp("chosen") / "rows.jsonl"

    def build(examples, sizes=None, seed=42):
        outcomes = list(choice_rows(examples, sizes or {}, ROOT, seed))
        assert outcomes == list(choice_rows(examples, sizes or {}, ROOT, seed))
        by_id = {example.id: example for example in examples}
        questions, reasons = defaultdict(list), {}
        places = defaultdict(Counter)
        for outcome in outcomes:
            if isinstance(outcome, BadRecord):
                assert outcome.where not in reasons
                reasons[outcome.where] = outcome.reason
                continue
            example = by_id[_source(outcome, "choice")]
            options = _options(outcome["problem"], example)
            right = sorted(LETTERS.index(letter) for letter in _letters(outcome))
            assert score("choice", example.task, outcome["solution"], outcome["solution"]).reward == 1
            assert_options(options, right, example)
            questions[example.id].append((options, right))
            if example.task != "classify":
                is_letter = len(parse_gold_options(extract_answer(example.solution)) or ()) == 1
                places[example.task, is_letter, len(options)].update(right)
        assert_all_rows_are_asked(examples, questions, reasons)
        for (_, _, count), counts in places.items():
            dealt = [counts[place] for place in range(count)]
            assert max(dealt) - min(dealt) <= 1
        assert_valid("choice", [row for row in outcomes if isinstance(row, dict)], path)
        return questions, reasons

    return build


def assert_truth(claim: str, example: Example, truth: bool) -> None:
    reward = score("open", example.task, f"<answer>{claim}</answer>", example.solution).reward
    assert reward == 1 if truth else reward < 1
    if example.task == "detection" and not truth:
        assert iou(*parse_boxes(claim), *parse_boxes(extract_answer(example.solution))) < MAX_IOU


def assert_options(options: list[str], right: list[int], example: Example) -> None:
    answer = extract_answer(example.solution)
    if example.task == "classify":
        labels = parse_labels(answer)
        assert len({option.casefold() for option in options}) == len(options) == 4
        assert [place for place, option in enumerate(options) if option in labels] == right
        assert 1 <= len(right) <= 3
        return
    [place] = right
    if len(parse_options(answer) or ()) == 1:
        [letter] = parse_options(answer)
        own = listed_options(example.problem).options
        assert sorted(options) == sorted(own)
        assert options[place] == own[LETTERS.index(letter)]
        return
    assert len(options) == 4
    assert_truth(options[place], example, True)
    for option in options[:place] + options[place + 1 :]:
        assert_truth(option, example, False)
    if example.task == "detection":
        for first, second in combinations(options, 2):
            assert iou(*parse_boxes(first), *parse_boxes(second)) < MAX_IOU
    else:
        for first, second in permutations(options, 2):
            assert maths.compare(first, second) is maths.Verdict.DIFFERENT


def assert_all_rows_are_asked(examples, asked, reasons) -> None:
    assert {example.id for example in examples} == set(asked) | set(reasons)
    assert not set(asked) & set(reasons)


def assert_valid(stage: str, rows: list[dict], path: Path) -> None:
    if rows:
        assert write_rows(path, rows) == len(rows)
        for row, example in zip(rows, read_examples(path, ROOT), strict=True):
            assert (example.problem, example.solution) == (row["problem"], row["solution"])
            check_gold(stage, example.task, example.solution)


def _source(row: dict, stage: str) -> str:
    return row["id"].removeprefix(f"{stage}:").partition("#")[0]


def _letters(row: dict) -> frozenset[str]:
    return parse_options(extract_answer(row["solution"]))


def _options(problem: str, example: Example) -> list[str]:
    own = listed_options(example.problem)
    if own is not None and len(parse_gold_options(extract_answer(example.solution)) or ()) == 1:
        shown = listed_options(problem)
        assert (shown.before, shown.after) == (own.before, own.after)
        return list(shown.options)
    lines = problem.removeprefix(example.problem).split("\n")
    assert problem.startswith(example.problem)
    assert [line[:3] for line in lines] == ["", "A. ", "B. ", "C. ", "D. "]
    return [line[3:] for line in lines[1:]]
