"""The format reward: is a completion written the way the prompt asks?"""

from curr_reft.stages import STAGES
from curr_reft.tasks.registry import get_task
from curr_reft.tasks.score import Score

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def score_format(stage: str, task: str, completion: str) -> Score:
    """1 for ``<think>…</think> <answer>…</answer>`` and nothing else, else 0. Never raises; linear time.

    Each tag must occur exactly once and the answer must not be empty. Where the answer itself is asked for,
    the task may demand more, as detection does a box; judge and choice rows are answered by a word or a
    letter. The paper only adds a format term (eq. 8); the rule is *ours*, after the released pattern.
    """
    text = completion.strip()
    wrong = [tag for tag in _TAGS if text.count(tag) != 1]
    if wrong:
        return Score(0.0, f"not exactly one {wrong[0]}")
    thinking, _, rest = text.partition("</think>")
    gap, _, block = rest.partition("<answer>")
    if not thinking.startswith("<think>") or gap.strip() or not block.endswith("</answer>"):
        return Score(0.0, "text outside the two blocks, or tags out of order")
    answer = block.removesuffix("</answer>").strip()
    if not answer:
        return Score(0.0, "the answer is empty")
    known = get_task(task) if STAGES[stage].answer == "open" else None
    fault = known and known.format_fault(answer)
    return Score(1.0, "well-formed") if fault is None else Score(0.0, fault)
