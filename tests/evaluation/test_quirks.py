"""The table of quirks: every one is real, and counted where it belongs."""

import pytest

from curr_reft.errors import InputError
from curr_reft.evaluation.quirk_list import QUIRKS
from curr_reft.evaluation.quirks import gain, own_reward, quirk_table, read_cases, released_reward


@pytest.fixture(scope="module")
def cases(root):
    return read_cases(root / "tests/golden")


@pytest.fixture(scope="module")
def table(cases):
    return quirk_table(cases)


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.released[:40])
def test_a_quirk_touches_its_example_and_changes_its_reward(quirk):
    assert quirk.touches(quirk.example)
    assert gain(quirk.example, quirk.of_format) != 0


def test_the_table_counts_golden_rows(table):
    lines = table.splitlines()
    assert lines[-1] == "Rows: judge 861, choice 916, open 1311, evaluation 1776."
    assert len(lines) == len(QUIRKS) + 5
    assert all("%" in line for line in lines[2:-2])


def test_few_differences_are_left_without_a_quirk(cases):
    differing = [case for case in cases if released_reward(case) != own_reward(case)]
    untouched = [
        case for case in differing if not any(quirk.touches(case) for quirk in QUIRKS if not quirk.of_format)
    ]
    assert len(differing) > 1000
    assert len(untouched) < 0.1 * len(differing)


def test_reproduction_notes_hold_the_table(root, table):
    assert table in (root / "train_code/REPRODUCTION.md").read_text(encoding="utf-8")


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match=r"stage1\.jsonl\.gz: cannot be read"):
        read_cases(tmp_path)
