"""What a mixture costs: seconds and peak memory of loading 10,000, 100,000 and 1,000,000 rows.

    python scripts/benchmarks/mixtures.py [--rows 10000 100000 1000000]

Beside it stands what the release does, all rows through `json` into a list. Each figure is of a process of
its own; what its imports take is in the first line. Own memory is what no file backs, at the end; the peak
counts pages of mapped files, which the system takes back when it needs them. Linux only.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

_MIXTURE = "train_datasets:\n  - json_path: rows.jsonl\n"


def write_rows(root: Path, rows: int) -> None:
    """A mixture of one file whose rows differ; their images need not exist, for they are not opened."""
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


def imports_only(root: Path) -> object:
    """Import what `through_arrow` needs."""
    from curr_reft.data import mixture

    return mixture


def through_arrow(root: Path) -> object:
    """Load the mixture as a stage does, and go through its rows once."""
    from curr_reft.data.mixture import load_mixture

    mixture = load_mixture(root / "mixture.yaml", root, root, seed=42)
    for _ in mixture.train:
        pass
    return mixture


def through_a_list(root: Path) -> object:
    """Read the rows as the release does."""
    with (root / "rows.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _own_memory() -> float:
    """MiB of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def _measure(work: Callable[[Path], object], root: Path, results: multiprocessing.Queue) -> None:
    start = time.perf_counter()
    kept = work(root)
    seconds = time.perf_counter() - start
    results.put((seconds, _own_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    del kept


def measured(work: Callable[[Path], object], root: Path) -> tuple[float, float, float]:
    """Seconds, own MiB at the end and peak MiB of `work` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_measure, args=(work, root, results))
    process.start()
    found = results.get()
    process.join()
    return found


def _cells(figures: tuple[float, float, float]) -> list[str]:
    seconds, own, peak = figures
    return [f"{seconds:.1f}", f"{own:.0f}", f"{peak:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    table = Table(
        "rows", *(f"{way}, {unit}" for way in ("mixture", "list") for unit in ("s", "own MiB", "peak MiB"))
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        table.add_row("imports", *_cells(measured(imports_only, root)))
        for rows in arguments.rows:
            write_rows(root, rows)
            figures = [measured(work, root) for work in (through_arrow, through_a_list)]
            table.add_row(f"{rows:,}", *(cell for figure in figures for cell in _cells(figure)))
    Console().print(table)


if __name__ == "__main__":
    main()
