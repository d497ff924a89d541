"""Tables of examples: they read like lists, and a mixture takes no more memory for being long."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from curr_reft.data.arrow import ExampleTable
from curr_reft.data.schema import Example
from curr_reft.errors import InputError

PEAK = """
import resource, sys
from pathlib import Path
from curr_reft.data.mixture import load_mixture
root = Path(sys.argv[1])
mixture = load_mixture(root / "mixture.yaml", root, root, seed=1)
assert sum(len(row.problem) for row in mixture.train) > 0
print(len(mixture.train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def examples(count: int) -> list[Example]:
    return [
        Example(
            f"rows.jsonl:{n}", f"problem {n} ☃\n", f"<answer>{n}</answer>", "math", Path(f"/images/{n}.jpg")
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2500])
def test_a_table_reads_like_the_list_it_was_made_of(count):
    rows = examples(count)
    table = ExampleTable.of(iter(rows))
    assert len(table) == count
    assert list(table) == rows == list(table)
    assert bool(table) == bool(rows)
    if rows:
        assert (table[0], table[count - 1]) == (rows[0], rows[-1])


def test_selection_and_joining_keep_the_order():
    rows = examples(10)
    table = ExampleTable.of(rows)
    chosen = table.select([7, 2, 2])
    assert list(ExampleTable.joined([chosen, ExampleTable.of([]), table])) == [
        rows[7],
        rows[2],
        rows[2],
        *rows,
    ]
    assert list(ExampleTable.joined([])) == []


def test_an_error_on_the_way_is_the_callers():
    def failing():
        yield examples(1)[0]
        raise InputError("row 2 is bad")

    with pytest.raises(InputError, match="row 2 is bad"):
        ExampleTable.of(failing())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = {}
    for count in (1_000, 200_000):
        with (tmp_path / "rows.jsonl").open("w") as file:
            for n in range(count):
                row = {"problem": f"How many? {n} " + "x" * 200, "solution": f"<answer>{n}</answer>"}
                file.write(json.dumps({**row, "id": n, "task": "math", "image": f"{n}.jpg"}) + "\n")
        (tmp_path / "mixture.yaml").write_text(
            "train_datasets:\n  - {json_path: rows.jsonl, sampling_strategy: 'random:90%'}\n"
        )
        command = [sys.executable, "-c", PEAK, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, peaks[count] = map(int, done.stdout.split())
        assert rows == count * 9 // 10
    # 200,000 rows are 70 MB of text and over 300 MB as a list of dicts; the mapped file itself may count.
    assert peaks[200_000] - peaks[1_000] < 150


WRITES = """
import os, signal, sys, tempfile
from curr_reft.data.arrow import ExampleTable
ExampleTable.of([])
print(*os.listdir(tempfile.gettempdir()), flush=True)
if sys.argv[1] == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def test_folders_of_dead_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    def start(how: str) -> subprocess.Popen:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            [sys.executable, "-c", WRITES, how], env={**os.environ, "TMPDIR": str(tmp_path)}, **pipes
        )

    living = start("lives")
    (of_the_living,) = living.stdout.readline().split()
    dead = start("dies")
    both = set(dead.stdout.readline().split())
    dead.wait()
    (of_the_dead,) = both - {of_the_living}
    last = start("lives")
    found = set(last.stdout.readline().split())
    assert of_the_living in found
    assert of_the_dead not in found
    for process in (living, last):
        process.communicate("", timeout=30)
    assert not list(tmp_path.iterdir())
