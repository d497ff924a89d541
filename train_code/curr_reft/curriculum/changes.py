"""What makes another step of one that began: settings that decide what comes of it, and its start."""

from contextlib import suppress
from typing import Any

from curr_reft.curriculum.records import Record
from curr_reft.curriculum.steps import Step
from curr_reft.training.resume import changes_nothing

# Where a judge is served says nothing of what it is.
_PLACES = ("judge_url",)


def changes(record: Record, step: Step, starts: dict[str, Record]) -> list[str]:
    """What makes another step of a recorded one, each in words: settings, and the models it starts from."""
    before, now = record["step"], step.keys()
    told = [
        f"{name} {_spelt(now[key].get(name))} instead of {_spelt(before[key].get(name))}"
        for key in ("flags", "judge")
        for name in sorted({**before.get(key, {}), **now.setdefault(key, {})})
        if _value(before.setdefault(key, {}).get(name)) != _value(now[key].get(name))
        and name not in _PLACES
        and not changes_nothing(name)
    ]
    told += [
        f"{key} {_spelt(now.get(key))} instead of {_spelt(before.get(key))}"
        for key in ("run", "from", "checkpoint", "config", "data", "of", "processes")
        if now.get(key) != before.get(key)
    ]
    for name, start in starts.items():
        earlier = record["starts"].get(name)
        if earlier and earlier != start:
            again = earlier["place"] == start["place"]
            told.append(
                f"{name} was done again" if again else f"{start['place']} instead of {earlier['place']}"
            )
    return told


def _value(value: Any) -> Any:
    """A setting as a command line's text and a file's number or truth compare."""
    if not isinstance(value, bool):
        with suppress(TypeError, ValueError):
            return float(value)
    return str(value).lower()


def _spelt(value: Any) -> str:
    return "not set" if value is None else str(value)[:80]
