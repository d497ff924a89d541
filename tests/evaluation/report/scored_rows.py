"""Rows and scores as eval/evaluate.py writes them."""

import json
import random

from scipy.stats import binomtest

SUITES = {
    "detection_in": ("detection", "in", "train/open/detection_test.jsonl"),
    "classify_in": ("classify", "in", "train/open/classify_test.jsonl"),
    "math_in": ("math", "in", "train/open/math_test.jsonl"),
    "detection_out": ("detection", "out", "test/detection_test.jsonl"),
    "classify_out": ("classify", "out", "test/classify_test.jsonl"),
    "math_out": ("math", "out", "test/math_test.jsonl"),
}
TINY = {"model_type": "qwen2_5_vl", "hidden_size": 64, "layers": 4}
QWEN_3B = {"model_type": "qwen2_5_vl", "hidden_size": 2048, "layers": 36}


def scored_row(number, task, right, disputed, example, image="images/1.png", frame=(84, 84), rng=None):
    """A row as eval/evaluate.py writes it, whose output is right or wrong by the strict scoring."""
    rng = rng or random.Random(number)
    gold = example["solution"].removeprefix("<answer>").removesuffix("</answer>")
    boxes = None
    if task == "detection":
        gold_box = json.loads(gold)["bbox_2d"]
        shift = rng.randint(0, 2) if right else rng.randint(14, 25)
        sign = 1 if gold_box[0] < 30 else -1
        box = [side + sign * shift for side in gold_box]
        answer, boxes = json.dumps({"bbox_2d": box}), ([box], [gold_box])
    elif task == "classify":
        answer = gold if right else f"{gold}, ring" if disputed else "ring"
    else:
        answer = gold if right else str(int(float(gold)) + 1)
    released = 1 - right if disputed else right
    return {
        "id": f"train/open/{task}_test.jsonl:{number}",
        "task": task,
        "problem": example.get("problem", "What is it?"),
        "image": image,
        "frame": list(frame),
        "prompt": f"{example.get('problem', '')} First output the thinking process.",
        "model_output": f"<think>It is at the top left.</think><answer>{answer}</answer>",
        "new_tokens": 21,
        "truncated": False,
        "digest": f"{number:064x}",
        "example": {"solution": example["solution"]},
        "strict": right,
        "tolerant": right,
        "released": released,
        "overlap": None if task == "math" else 0.9 if right else 0.2,
        "parsed": True,
        "explanation": {
            "strict": {
                "rule": "mean IoU of the matched boxes, over 0.5 or not" if boxes else "values, compared",
                "answer": boxes[0] if boxes else answer,
                "gold": boxes[1] if boxes else gold,
            },
            "released": {"rule": "the released rule", "answer": answer, "gold": gold},
        },
    }


def score_of(rows, suite, **changes):
    """A suite's entry of scores.json for its rows."""
    task, domain, path = SUITES[suite]
    n, right = len(rows), sum(row["strict"] for row in rows)
    interval = binomtest(right, n).proportion_ci(method="wilson")
    overlaps = [row["overlap"] for row in rows if row["overlap"] is not None]
    return {
        "task": task,
        "domain": domain,
        "n": n,
        "accuracy": right / n,
        "low": interval.low,
        "high": interval.high,
        "tolerant": sum(row.get("tolerant", 0) for row in rows) / n,
        "released": sum(row["released"] for row in rows) / n,
        "overlap": sum(overlaps) / n if overlaps else None,
        "unparsed": 0.01,
        "truncated": 0.02,
        "format": 0.97,
        "incidents": {"strict, bad_gold": 3} if task == "math" else {},
        "json_path": path,
        "sha256": f"{hash_of(suite):064x}",
        "settings": {"prompts": "training", "box_frame": "budget", "max_new_tokens": 256},
        "seconds": 12.5,
        "rows_per_second": n / 12.5,
        **changes,
    }


def hash_of(text):
    return sum(ord(char) * 257**place for place, char in enumerate(text))
