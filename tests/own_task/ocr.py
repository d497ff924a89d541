"""A task of your own, whole in one file: read the text in an image. ``--tasks tests/own_task/ocr.py``"""

from rapidfuzz.distance import Levenshtein

from curr_reft.answers.reading import Kind
from curr_reft.tasks.distractors import Texts
from curr_reft.tasks.rule import Rule
from curr_reft.tasks.score import Score
from curr_reft.tasks.task import Scoring, Task


def read_text(answer: str) -> str | None:
    """The answer in one line; white space in a row is one space."""
    return " ".join(answer.split()) or None


def score_text(answer: str, gold: str) -> Score:
    """One less the normalised edit distance, in [0, 1]: a text that is nearly right earns nearly all."""
    return Score(Levenshtein.normalized_similarity(answer, gold), "one less the edit distance", answer, gold)


RULES = (Rule(Kind(read_text), score_text, "text", "the text, as in <answer>EXIT 12</answer>"),)

TASKS = Task(
    name="ocr",
    title="reading",
    rules=RULES,
    # Wrong claims and options are the texts of other images.
    distractors=lambda row: Texts,
    endings={"open": " The final answer is the text in the image and nothing else."},
    # Evaluation counts what is equal, and shows the mean similarity beside it.
    scorings=(Scoring(name="ocr", rules=RULES, detail=lambda score: score._replace(overlap=score.reward)),),
)
