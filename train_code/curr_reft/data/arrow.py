"""Rows in Arrow files: as many as the disk holds, a batch of them in memory."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value, concatenate_datasets
from datasets.arrow_writer import ArrowWriter

from curr_reft.data.schema import Example
from curr_reft.errors import InputError
from curr_reft.files.atomic import room_below
from curr_reft.files.journal import sole_writer

_PREFIX = "curr-reft-"
_BATCH = 1000
_COLUMNS = ("id", "problem", "solution", "task", "image", "stage")


@functools.cache
def _workspace() -> str:
    """This process's folder for Arrow files, below `TMPDIR`; it goes when the process ends.

    A killed process leaves its folder; the next one that starts removes it.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Another process that starts may have removed it, and another user's is not to be removed.
        with suppress(InputError, OSError), sole_writer(left):
            shutil.rmtree(left)
    # It gets the name by which others find it when it is held, so that none takes it for a dead one's.
    new = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
    held = ExitStack()
    held.enter_context(sole_writer(new))
    folder = new.rename(new.with_name(new.name[1:]))
    atexit.register(held.close)
    atexit.register(shutil.rmtree, folder)
    return str(folder)


def write_arrow(rows: Iterable[dict[str, Any]], features: Features) -> Dataset:
    """Write rows to a file of this process as they come, and map the file into memory."""
    folder = tempfile.mkdtemp(dir=_workspace())
    path = f"{folder}/rows.arrow"
    with (
        room_below(Path(folder)),
        ArrowWriter(path=path, features=features, writer_batch_size=_BATCH) as writer,
    ):
        for row in rows:
            writer.write(row)
        writer.finalize()
    return Dataset.from_file(path)


class ExampleTable(Sequence[Example]):
    """Examples in Arrow files; reads like a list of them."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "ExampleTable":
        """A table of the examples, written as they come."""
        rows = ({column: str(getattr(example, column)) for column in _COLUMNS} for example in examples)
        return cls(write_arrow(rows, Features({column: Value("string") for column in _COLUMNS})))

    @classmethod
    def joined(cls, tables: Sequence["ExampleTable"]) -> "ExampleTable":
        """The rows of all tables, one table after the other."""
        datasets = [table._dataset for table in tables if len(table)]
        return cls(concatenate_datasets(datasets)) if datasets else cls.of([])

    def select(self, indices: Sequence[int]) -> "ExampleTable":
        """The rows at `indices`, in that order."""
        return ExampleTable(self._dataset.select(indices))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        return _example(self._dataset[index])

    def __iter__(self) -> Iterator[Example]:
        for batch in self._dataset.iter(_BATCH):
            for values in zip(*(batch[column] for column in _COLUMNS), strict=True):
                yield _example(dict(zip(_COLUMNS, values, strict=True)))


def _example(row: dict[str, str]) -> Example:
    return Example(**{**row, "image": Path(row["image"])})
