"""A hypothesis strategy: JSON documents with something wrong somewhere."""

import copy
from typing import Any

from hypothesis import strategies as st

_ODD = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1.5, float("nan"), float("inf"), -1e308, 10**400, 10**18),
        *("", " ", "\ud800", "../../etc/passwd", "/etc/passwd", "</answer>", "<image>", "Answer:"),
        *("\x00", "3"),
        *([], {}, [[]], [{}], [0, 0, 0, 0], [-5, -5, 10**6, 1], "\\boxed{", "The answer is ?"),
    ]
)
_VALUES = st.one_of(_ODD, st.text(max_size=8), st.integers(), st.floats())


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    keys = document if isinstance(document, dict) else range(len(document))
    found = [(document, key) for key in keys]
    for key in keys:
        if isinstance(document[key], dict | list):
            found += _places(document[key])
    return found


@st.composite
def mutated(draw: st.DrawFn, original: Any) -> Any:
    """The document with up to three values replaced, removed or doubled."""
    document = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "remove", "double"]))
        if action == "replace":
            container[key] = copy.deepcopy(draw(_VALUES))
        elif action == "remove":
            del container[key]
        elif isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
    return document
