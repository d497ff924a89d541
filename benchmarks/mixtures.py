"""What a mixture costs: seconds and peak memory of loading 10,000, 100,000 and 1,000,000 rows.

    python benchmarks/mixtures.py [--rows 10000 100000 1000000]

Beside it stands what the release does, all rows through `json` into a list. Each figure is of a process of
its own; what its imports take is in the first line.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

_MIXTURE = "train_datasets:\n  - json_path: rows.jsonl\n"


def write_rows(root: Path, rows: int) -> None:
    """A mixture of one file whose rows differ; their pictures need not exist, for they are not opened."""
    with (root / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = {
                "problem": "Please provide the bounding box coordinate of the region this sentence describes:"
                f" the person number {number} from the left.",
                "solution": json.dumps({"bbox_2d": [number % 97, number % 89, 300, 400]}).join(
                    ("<answer>", "</answer>")
                ),
                "task": "detection",
                "image": f"images/coco/train2014/COCO_train2014_{number // 3:012d}.jpg",
            }
            file.write(json.dumps(row) + "\n")
    (root / "mixture.yaml").write_text(_MIXTURE, encoding="utf-8")


def imports_only(root: Path) -> int:
    """Import what `through_arrow` needs."""
    from curr_reft.data import mixture  # noqa: F401

    return 0


def through_arrow(root: Path) -> int:
    """Load the mixture as a stage does, and go through its rows once."""
    from curr_reft.data.mixture import load_mixture

    mixture = load_mixture(root / "mixture.yaml", root, root, seed=42)
    return sum(1 for _ in mixture.train)


def through_a_list(root: Path) -> int:
    """Read the rows as the release does."""
    with (root / "rows.jsonl").open(encoding="utf-8") as file:
        return len([json.loads(line) for line in file])


def _measure(work: Callable[[Path], int], root: Path, results: multiprocessing.Queue) -> None:
    start = time.perf_counter()
    work(root)
    unit = 1024**2 if sys.platform == "darwin" else 1024
    results.put((time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit))


def measured(work: Callable[[Path], int], root: Path) -> tuple[float, float]:
    """Seconds and peak MiB of `work` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measure, args=(work, root, results))
    process.start()
    found = results.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    table = Table("rows", "mixture, s", "peak MiB", "list, s", "peak MiB")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds, peak = measured(imports_only, root)
        table.add_row("imports", f"{seconds:.1f}", f"{peak:.0f}", "", "")
        for rows in arguments.rows:
            write_rows(root, rows)
            figures = [measured(work, root) for work in (through_arrow, through_a_list)]
            cells = [(f"{seconds:.1f}", f"{peak:.0f}") for seconds, peak in figures]
            table.add_row(f"{rows:,}", *(cell for pair in cells for cell in pair))
    Console().print(table)


if __name__ == "__main__":
    main()
