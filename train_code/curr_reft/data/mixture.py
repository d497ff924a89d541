"""Mixtures: which files, and how much of each, a run trains and validates on.

The YAML form is the released one (`data_config/`), with VLM-R1's sampling strategies, and a `stage` for rows
that are not of the run's own:

    train_datasets:
      - json_path: train/open/detection_train.jsonl
        sampling_strategy: random:25%
        stage: open
    val_datasets:
      - json_path: train/open/detection_test.jsonl
"""

import difflib
import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curr_reft.data.arrow import ExampleTable
from curr_reft.data.schema import iter_examples
from curr_reft.errors import InputError
from curr_reft.files.manifest import sha256_of
from curr_reft.files.yaml import read_mapping
from curr_reft.stages import STAGES

logger = logging.getLogger(__name__)

_SPLITS = {"train_datasets": "train", "val_datasets": "val"}
_DATASET_KEYS = ("json_path", "sampling_strategy", "stage")
_GET_DATA = (
    "if the data is not here yet, 'python -m curr_reft.data.download' fetches the released rows and"
    " 'scripts/build_data.sh' makes rows from public annotations; see grpo_sft_data/README.md"
)
_STRATEGY = re.compile(r"(first|end|random):([0-9]{1,9})(%?)")


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One entry of a mixture as it was used, for the run manifest."""

    path: str
    """As the mixture spells it, so that manifests of two machines compare."""
    split: str
    """`train` or `val`."""
    sampling_strategy: str
    stage: str
    """The stage of its rows; empty for the run's."""
    rows: int
    rows_used: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """The rows of a run and the files they came from, each split in the order of the YAML file.

    Rows are in Arrow files, which are mapped: of a million rows a batch is in memory of the process's own.
    """

    train: ExampleTable
    val: ExampleTable
    files: list[DatasetFile]

    @property
    def rows(self) -> ExampleTable:
        """The rows of both splits."""
        return ExampleTable.joined([self.train, self.val])


def load_mixture(config: Path, data_root: Path, image_root: Path, seed: int) -> Mixture:
    """Read a mixture, check every row of its files, and keep those that it selects.

    Relative `json_path`s are under `data_root`. A file listed twice gives its rows twice, as in the released
    mixtures. `val_datasets` may be empty or absent. Raises `InputError` for whatever is wrong in the mixture,
    its files or the two roots.
    """
    for root, flag in ((data_root, "--data_root"), (image_root, "--image_root")):
        if not root.is_dir():
            raise InputError(f"{flag}: {root} is not a directory; {_GET_DATA}")
    document = read_mapping(config)
    _check_keys(document, tuple(_SPLITS), f"{config}")
    splits: dict[str, list[ExampleTable]] = {split: [] for split in _SPLITS.values()}
    files: list[DatasetFile] = []
    tables: dict[tuple[str, str], ExampleTable] = {}
    for key, split in _SPLITS.items():
        for index, dataset in enumerate(_datasets(document, key, config)):
            where = f"{config}: {key}[{index}]"
            json_path, strategy, stage = _dataset(dataset, where)
            path = data_root / json_path
            if not path.exists():
                raise InputError(f"{path}: no such file, which {where} names; {_GET_DATA}")
            if (json_path, stage) not in tables:
                examples = iter_examples(path, image_root)
                tables[json_path, stage] = ExampleTable.of(replace(row, stage=stage) for row in examples)
            rows = tables[json_path, stage]
            # The path in the seed keeps a draw apart from other datasets, also from files of the same length.
            chosen = _select(len(rows), strategy, f"{seed}:{json_path}", where)
            splits[split].append(rows.select(chosen))
            digest = sha256_of(path)
            files.append(DatasetFile(json_path, split, strategy, stage, len(rows), len(chosen), digest))
    return Mixture(ExampleTable.joined(splits["train"]), ExampleTable.joined(splits["val"]), files)


def _datasets(document: dict[str, Any], key: str, config: Path) -> list[Any]:
    datasets = document.get(key)
    if datasets is None:
        datasets = []
    if not isinstance(datasets, list):
        raise InputError(f"{config}: {key}: expected a list of datasets")
    if key == "train_datasets" and not datasets:
        raise InputError(f"{config}: empty mixture: train_datasets lists no file")
    return datasets


def _dataset(dataset: Any, where: str) -> tuple[str, str, str]:
    """The path, the sampling strategy and the stage of one entry; the stage is empty where it has none."""
    if not isinstance(dataset, dict):
        raise InputError(f"{where}: expected a mapping with json_path and sampling_strategy")
    _check_keys(dataset, _DATASET_KEYS, where)
    json_path = dataset.get("json_path")
    if not isinstance(json_path, str) or not json_path:
        raise InputError(f"{where}: json_path: expected the path of a data file, found {json_path!r}")
    # A list, since YAML also gives what cannot be looked up in a mapping.
    if "stage" in dataset and dataset["stage"] not in list(STAGES):
        raise InputError(f"{where}: stage: {dataset['stage']!r} is none of {', '.join(STAGES)}")
    return json_path, str(dataset.get("sampling_strategy", "all")), dataset.get("stage", "")


def _check_keys(mapping: dict[Any, Any], valid: tuple[str, ...], where: str) -> None:
    for key in mapping:
        if key not in valid:
            close = difflib.get_close_matches(str(key), valid, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid keys are {', '.join(valid)}"
            raise InputError(f"{where}: unknown key {key!r}; {hint}")


def _select(rows: int, strategy: str, seed: str, where: str) -> Sequence[int]:
    """Which of a file's rows a strategy picks, in file order.

    A percentage is rounded up, as in VLM-R1, and a count above the file's rows takes them all. What `random`
    draws depends on `seed` and the number of rows alone.
    """
    if strategy == "all":
        return range(rows)
    match = _STRATEGY.fullmatch(strategy)
    if match is None or (match[3] and int(match[2]) > 100):
        forms = "all, first:N, end:N or random:N, N a count or a percentage such as 25%"
        raise InputError(f"{where}: sampling_strategy: {strategy!r} is none of {forms}")
    count = -(-rows * int(match[2]) // 100) if match[3] else int(match[2])
    if count == 0:
        raise InputError(f"{where}: sampling_strategy: {strategy!r} selects no rows")
    if count > rows:
        logger.warning("%s: %s asks for more than the %d rows of the file", where, strategy, rows)
        return range(rows)
    if match[1] == "first":
        return range(count)
    if match[1] == "end":
        return range(rows - count, rows)
    return sorted(random.Random(seed).sample(range(rows), count))
