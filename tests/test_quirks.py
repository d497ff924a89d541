"""The table of quirks: every one is real, and counted where it belongs."""

import pytest

from curr_reft.errors import InputError
from curr_reft.quirks import QUIRKS, quirk_table, read_cases, rewards


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.released[:40])
def test_a_quirk_touches_its_example_and_changes_its_reward(quirk):
    assert quirk.touches(quirk.example)
    released, ours = rewards(quirk.example, quirk.of_format)
    assert released != ours


def test_the_table_counts_golden_rows(root):
    cases = read_cases(root / "tests/golden")
    table = quirk_table(cases).splitlines()
    assert table[-1] == "Rows: judge 861, choice 916, open 1311, evaluation 1776."
    assert len(table) == len(QUIRKS) + 4
    assert all("%" in line for line in table[2:-2])


def test_readme_holds_the_table(root):
    table = quirk_table(read_cases(root / "tests/golden"))
    assert table in (root / "README.md").read_text(encoding="utf-8")


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match=r"stage1\.jsonl\.gz: cannot be read"):
        read_cases(tmp_path)
