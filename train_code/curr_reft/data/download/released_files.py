"""What is known of the released data before it is fetched: row files, reported sizes, where files belong.

The file list of the hub's repository could not be read where this was written. Names and folders are those
of the released README and mixtures (`configs/data`): expected ones, whose absence is reported. Paths are
relative to the data root (`grpo_sft_data`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

HUB_ID = "ZTE-AIM/Curr-ReFT-data"
TREES = ("grpo_data", "SFT_data")
ROW_SUFFIXES = (".jsonl", ".json")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
RELEASED_ROOTS = ("/mnt/tenant-home_speed/AIM/data/",)
"""Folders of the authors' machines that hold one folder per dataset, from paths in released rows."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A row file that a released mixture or test table names."""

    path: str
    reported: tuple[int, ...] = ()
    """How many rows it has; paper, card and released file contradict each other. Empty: no source says."""
    optional: bool = False
    """Only a small or single-task mixture names it, so nothing is amiss without it."""


@dataclass(frozen=True, slots=True)
class SeparateImages:
    """Images that are not on the hub; `word` is in the path of each row file or image of theirs."""

    name: str
    word: str
    url: str


_OPEN, _TRAINED = "grpo_data/train/open", (3000, 5000)

EXPECTED = (
    RowFile("grpo_data/train/judge/judge_math_train.jsonl"),
    RowFile("grpo_data/train/judge/judge_math_val.jsonl"),
    RowFile("grpo_data/train/judge/judge_v2_coco_train.jsonl"),
    RowFile("grpo_data/train/judge/judge_v2_coco_val.jsonl"),
    RowFile("grpo_data/train/judge/addition_coco_judge_detection.jsonl"),
    RowFile("grpo_data/train/choice/math_choice_v2_math_train.jsonl"),
    RowFile("grpo_data/train/choice/math_choice_math_val.jsonl"),
    RowFile("grpo_data/train/choice/choice_classify_v2_coco_train.jsonl"),
    RowFile("grpo_data/train/choice/choice_classify_v2_coco_val.jsonl"),
    RowFile("grpo_data/train/choice/choice_detection_coco_train.jsonl"),
    RowFile("grpo_data/train/choice/choice_detection_coco_val.jsonl"),
    RowFile(f"{_OPEN}/coco_3k_2task/detection_coco_train.jsonl", _TRAINED),
    RowFile(f"{_OPEN}/coco_3k_2task/detection_coco_val.jsonl"),
    RowFile(f"{_OPEN}/coco_3k_2task/detection_coco_test.jsonl", (1000,)),
    RowFile(f"{_OPEN}/coco_3k_2task/classify_v2_coco_train.jsonl", _TRAINED),
    RowFile(f"{_OPEN}/coco_3k_2task/classify_v2_coco_val.jsonl"),
    RowFile(f"{_OPEN}/coco_3k_2task/classify_v2_coco_test.jsonl", (1000,)),
    RowFile(f"{_OPEN}/openr1_8k/math_math_train.jsonl", _TRAINED),
    RowFile(f"{_OPEN}/openr1_8k/math_math_test.jsonl", (1000,)),
    RowFile("grpo_data/test/Refgta/refgta_subsample_resize.json", (1000,)),
    RowFile("grpo_data/test/pascal/classify_pascal_voc_test.jsonl", (1000,)),
    RowFile("grpo_data/test/superclever/superclevr_test200_counting_problems.jsonl", (200, 500)),
    RowFile("SFT_data/reject/cat_all_formatted.jsonl", (1520,)),
    *(
        RowFile(f"grpo_data/train/{path}", optional=True)
        for path in (
            *("judge/judge_math_test.jsonl", "judge/addition_coco_judge_v2.jsonl"),
            *("judge/judge_detection_coco_train.jsonl", "judge/judge_detection_coco_test.jsonl"),
            *("open/openr1_8k/math_math_val.jsonl", "open/cocop_3k_2task/detection_coco_train.jsonl"),
            "open/cocog_3k_2task/detection_coco_train.jsonl",
            "open/coco2017_vqa/coco_vqa_coco_vqa_train.jsonl",
            "open/coco2017_vqa/coco_vqa_coco_vqa_val.jsonl",
        )
    ),
)

SEPARATE = (
    SeparateImages(
        "RefGTA", "refgta", "https://drive.google.com/drive/folders/1pcdwA--xSAkbsOwjqhhyXMRZH7_sjQXU"
    ),
    SeparateImages(
        "SuperCLEVR",
        "superclev",
        "https://www.cs.jhu.edu/~zhuowan/zhuowan/SuperCLEVR/to_be_released/images.zip",
    ),
)


def is_rows(path: PurePosixPath) -> bool:
    """Whether a file holds rows; a `.json` file can be anything, and counts when it is one of `EXPECTED`."""
    return path.suffix == ".jsonl" or path.name in {PurePosixPath(file.path).name for file in EXPECTED}


def separate_images(row_file: str, image: str) -> SeparateImages | None:
    """The separate download an image belongs to, by its path or its row file's; `None` for the hub's own."""
    where = f"{row_file}\n{image}".lower()
    return next((images for images in SEPARATE if images.word in where), None)


def place_of(path: PurePosixPath) -> PurePosixPath | None:
    """Where a fetched file belongs under the data root; `None` for a card, a licence and the like."""
    folders = path.parts[:-1]
    for index in reversed(range(len(folders))):
        if folders[index] in TREES:
            return PurePosixPath(*path.parts[index:])
    if path.suffix.lower() in IMAGE_SUFFIXES:
        below = path.parts[1:] if path.parts[0] == "images" else path.parts
        return PurePosixPath("grpo_data", "images", *below)
    return None


def row_places(paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """Where fetched row files belong, by fetched path.

    An expected file that is only found in another folder goes where the mixtures look for it, unless two
    fetched files have its name. Files of no known place are left out.
    """
    fetched = list(paths)
    places = {path: place for path in fetched if (place := place_of(path)) is not None}
    expected = {PurePosixPath(file.path) for file in EXPECTED}
    for path in sorted(expected - set(places.values())):
        namesakes = [found for found in fetched if found.name == path.name]
        if len(namesakes) == 1 and places.get(namesakes[0]) not in expected:
            places[namesakes[0]] = path
    return places
