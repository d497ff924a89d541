"""The composition of the self-improvement data."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from curr_reft.errors import InputError
from curr_reft.self_improvement.sources import load_composition

GOOD = {"domain": "math", "modality": "image", "json_path": "x.jsonl", "quota": 3}


def test_the_shipped_composition_is_the_papers(root):
    composition = load_composition(root / "configs/self_improvement/released.yaml")
    assert composition.threshold == 85
    domains, modalities = Counter(), Counter()
    for source in composition.sources:
        domains[source.domain] += source.quota
        modalities[source.domain, source.modality] += source.quota
    assert domains == {"math": 700, "science": 320, "general": 500}
    assert modalities["math", "text"] == 400
    assert modalities["science", "image"] == 220
    assert sum(domains.values()) == 1520


def test_every_shipped_composition_loads(root):
    paths = sorted((root / "configs/self_improvement").glob("*.yaml"))
    assert len(paths) == 2
    assert all(load_composition(path).sources for path in paths)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"sources": {"a": GOOD}}, "needs exactly the keys threshold, sources"),
        ({"threshold": "85", "sources": {"a": GOOD}}, "threshold: expected a number from 0 to 100"),
        ({"threshold": float("nan"), "sources": {"a": GOOD}}, "threshold: expected a number"),
        ({"threshold": 101, "sources": {"a": GOOD}}, "threshold: expected a number"),
        ({"threshold": 85, "sources": {}}, "expected a mapping of source names"),
        ({"threshold": 85, "sources": {"a/b": GOOD}}, "a name is letters"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "quota": 0}}}, "quota: expected a whole number from 1"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "quota": True}}}, "quota: expected a whole number"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "domain": "art"}}}, "domain is one of math, science"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "task": "spelling"}}}, "task is one of detection"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "json_path": "/x.jsonl"}}}, "below the data root"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "url": "x"}}}, "source a: needs the keys"),
        ({"threshold": 85, "sources": {"a": {**GOOD, "domain": ["math"]}}}, "domain is one of"),
        (
            {"threshold": 85, "sources": {"a": {**GOOD, "modality": "text", "task": "detection"}}},
            "task detection is about images",
        ),
    ],
)
def test_a_bad_composition_is_one_line(document, message, tmp_path):
    path: Path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=message):
        load_composition(path)
