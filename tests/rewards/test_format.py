"""The format reward: one think block, one answer block, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.rewards.format import score_format
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import known_tasks

CASES = [(stage, task) for stage in STAGES for task in (*known_tasks(), "classification")]
BOX = '{"bbox_2d": [10, 20, 110, 220], "label": "dog"}'


@pytest.mark.parametrize(("stage", "task"), CASES)
@pytest.mark.parametrize(
    "completion", ["<think>t</think>{}", " <think>\nt\n</think>\n\n{}\n", "<think></think> {}"]
)
def test_well_formed(stage, task, completion):
    assert score_format(stage, task, completion.format(f"<answer> {BOX} </answer>")).reward == 1.0


@pytest.mark.parametrize(("stage", "task"), CASES)
@pytest.mark.parametrize(
    "completion",
    [
        "",
        f"<answer>{BOX}</answer>",
        f"<think>t<answer>{BOX}</answer>",
        f"<think>t</think>{BOX}",
        "<think>t</think><answer></answer>",
        "<think>t</think><answer> \n </answer>",
        f"<think>t</think><answer>{BOX}",
        f"Sure <think>t</think><answer>{BOX}</answer>",
        f"<think>t</think> so <answer>{BOX}</answer>",
        f"<think>t</think><answer>{BOX}</answer> done",
        f"<think>t</think><think>t</think><answer>{BOX}</answer>",
        f"<think>t</think><answer>{BOX}</answer><answer>{BOX}</answer>",
        f"<think>in <answer> </answer> tags</think><answer>{BOX}</answer>",
        f"<answer>{BOX}</answer><think>t</think>",
        f"<thinking>t</thinking><answer>{BOX}</answer>",
        f"<think><answer>t</think>{BOX}</answer>",
    ],
)
def test_badly_formed(stage, task, completion):
    assert score_format(stage, task, completion).reward == 0.0


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("[10, 20, 110, 220]", 1.0),
        ("[ 10.5, -2, 110, 220]", 1.0),
        ("```json\n[[10, 20, 110, 220]]\n```", 1.0),
        ("No Objects", 1.0),
        ("yes", 0.0),
        ("[]", 0.0),
        ("[300, 300, 100, 100]", 0.0),
        ("{[1,2,3,4]", 0.0),
        ('{"b": [1, 2, 3, 4]} yes', 0.0),
    ],
)
def test_open_detection_wants_a_box(answer, reward):
    assert score_format("open", "detection", f"<think>t</think><answer>{answer}</answer>").reward == reward


@pytest.mark.parametrize(("stage", "answer"), [("judge", "yes"), ("choice", "B")])
def test_other_stages_want_no_box_of_a_detection_row(stage, answer):
    assert score_format(stage, "detection", f"<think>t</think><answer>{answer}</answer>").reward == 1.0


@given(st.sampled_from(CASES), st.text() | st.text(alphabet="<think>answer/ []1,"))
def test_no_text_raises(case, text):
    for completion in (text, f"<think>{text}</think><answer>{text}</answer>"):
        assert score_format(*case, completion).reward in (0.0, 1.0)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["{[1,2,3,4]" * 20_000, "<think>" * 30_000, "[" * 200_000, " " * 200_000])
def test_hostile_text_is_linear(text):
    for completion in (
        text,
        f"<think>{text}",
        f"<think>t</think>{text}",
        f"<think>t</think><answer>{text}</answer>",
    ):
        assert score_format("open", "detection", completion).reward == 0.0
