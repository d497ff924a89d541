"""The format reward: is a completion written the way the prompt asks?"""

from curr_reft.rewards.answers import is_no_objects, parse_boxes

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def format_reward(stage: str, task: str, completion: str) -> float:
    """1 for ``<think>…</think> <answer>…</answer>`` and nothing else, else 0. Never raises; linear time.

    Each tag must occur exactly once and the answer must not be empty. In the open stage a detection answer
    must also hold a box or be ``No Objects``; judge and choice rows of that task are answered by a word or a
    letter. The paper only adds a format term (eq. 8); the rule is *ours*, after the released pattern.
    """
    text = completion.strip()
    if any(text.count(tag) != 1 for tag in _TAGS):
        return 0.0
    thinking, _, rest = text.partition("</think>")
    gap, _, block = rest.partition("<answer>")
    if not thinking.startswith("<think>") or gap.strip() or not block.endswith("</answer>"):
        return 0.0
    answer = block.removesuffix("</answer>").strip()
    if stage == "open" and task == "detection":
        return float(bool(parse_boxes(answer)) or is_no_objects(answer))
    return float(bool(answer))
