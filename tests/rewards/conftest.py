"""A clock for math-verify that a busy machine does not trip."""

import pytest

from curr_reft.rewards import maths


@pytest.fixture
def generous_clock(monkeypatch):
    monkeypatch.setattr(maths, "_TIMEOUT_SECONDS", 10)


@pytest.fixture
def short_clock(monkeypatch):
    monkeypatch.setattr(maths, "_TIMEOUT_SECONDS", 1)
