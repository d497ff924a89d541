"""`scripts/build_data.sh` on raw annotations in their true formats: all files of the mixtures, trainable."""

import json
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curr_reft.data.schema import read_examples
from curr_reft.data.sources.coco import SUPERCATEGORIES
from curr_reft.stages import STAGES
from curr_reft.training.run import prepare

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 30
VOC = """<annotation><folder>VOC2007</folder><filename>{name}.jpg</filename>
<size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>{label}</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""


def image(path: Path, seed: int) -> None:
    """An image like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((64, 48)).save(path)


def dump(path: Path, document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(document, 2) if path.suffix == ".p" else json.dumps(document).encode())


def refer(folder: Path, pickle_name: str, split: str, file_name: str, size: tuple[int, int]) -> None:
    """A refer data set of one object and one sentence an image, and two annotations of COCO categories."""
    refs, images, annotations = [], [], []
    width, height = size
    for n in range(1, IMAGES + 1):
        box = [width * (n % 7) / 10, height * (n % 5) / 10, width / 4, height / 3]
        images.append({"id": n, "file_name": file_name.format(n), "width": width, "height": height})
        for number, category in ((2 * n, n % 12), (2 * n + 1, (n * 5 + 3) % 12)):
            annotations.append(
                {"id": number, "image_id": n, "category_id": category + 1, "bbox": box, "iscrowd": 0}
            )
        sentence = {"sent_id": n, "sent": f"thing {n}", "raw": f"Thing {n}", "tokens": ["thing", str(n)]}
        refs.append(
            {
                "ref_id": n,
                "ann_id": 2 * n,
                "image_id": n,
                "category_id": n % 12 + 1,
                "split": split,
                "file_name": f"x_{n}.jpg",
                "sent_ids": [n],
                "sentences": [sentence],
            }
        )
    categories = [
        {"id": number + 1, "name": f"{name} thing", "supercategory": name}
        for number, name in enumerate(SUPERCATEGORIES)
    ]
    dump(folder / pickle_name, refs)
    dump(
        folder / "instances.json",
        {"images": images, "annotations": annotations, "categories": categories, "licenses": [], "info": {}},
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A data root built by the script, and what the script said."""
    raw, root = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("data") / "grpo_data"
    refer(raw / "refcoco", "refs(unc).p", "train", "COCO_train2014_{:012d}.jpg", (64, 48))
    refer(raw / "refgta", "refs(utokyo).p", "test", "{:08d}.jpg", (1920, 1080))
    questions = [("how many", f"The answer is {n % 9 + 1}", f"TabMWP/images/{n}.png") for n in range(IMAGES)]
    for name, items in (("train_samples_all_tuning", questions[:20]), ("qa_tuning", questions[20:])):
        conversations = [
            {
                "id": f"row_{index}",
                "image": image,
                "conversations": [
                    {"from": "human", "value": f"<image>\n{question}"},
                    {"from": "gpt", "value": answer},
                ],
            }
            for index, (question, answer, image) in enumerate(items)
        ]
        dump(raw / f"math/{name}.json", conversations)
    names = [f"{n:06d}" for n in range(IMAGES)]
    for name, label in zip(names, ["dog", "cat", "bus"] * 10, strict=True):
        path = raw / f"voc/Annotations/{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(VOC.format(name=name, label=label))
    (raw / "voc/ImageSets/Main").mkdir(parents=True)
    (raw / "voc/ImageSets/Main/val.txt").write_text("\n".join(names))
    scenes = [
        {
            "image_filename": f"superCLEVR_new_{25000 + n:06d}.png",
            "image_index": 25000 + n,
            "split": "new",
            "objects": [{"shape": "suv", "pixel_coords": [1, 2, 3]}] * (n % 8 + 1),
        }
        for n in range(IMAGES)
    ]
    dump(raw / "superclevr/superCLEVR_scenes.json", {"info": {}, "scenes": scenes})
    for n in range(1, IMAGES + 1):
        image(root / f"images/coco/train2014/COCO_train2014_{n:012d}.jpg", n)
    for n in range(IMAGES):
        dataset = "mathv360k" if n < 20 else "geo170k"
        image(root / f"images/{dataset}/TabMWP/images/{n}.png", 100 + n)

    sizes = {"TRAIN": "8", "VAL": "4", "TEST": "6", "TEST_MATH": "5", "DATA_ROOT": str(root)}
    done = subprocess.run(
        ["bash", str(ROOT / "scripts/build_data.sh"), str(raw)],
        env={**os.environ, **sizes},
        capture_output=True,
        text=True,
    )
    return root, done


@pytest.mark.slow
def test_every_file_is_there_and_the_stages_can_be_trained(built, tiny_base, tmp_path):
    root, done = built
    assert done.returncode == 0, done.stderr
    mixtures = {
        "judge": "stage1_judge/3_tasks.yaml",
        "choice": "stage2_multi_choice/3_tasks_3000.yaml",
        "open": "others/det_classify_math.yaml",
    }
    for name, mixture in mixtures.items():
        run = prepare(
            STAGES[name],
            [
                *("--dataset_name", str(ROOT / "configs/data" / mixture), "--image_root", str(root)),
                *("--model_name_or_path", str(tiny_base), "--output_dir", str(tmp_path), "--dry_run"),
                *("--held_out_suites", str(ROOT / "configs/eval/released.yaml"), "--forbid_leaks"),
            ],
        )
        counts = run.plan.train.dataset.with_format(None)["task"]
        assert set(counts) == {"detection", "classify", "math"}


@pytest.mark.slow
def test_tests_have_the_released_form(built):
    root, done = built
    assert done.returncode == 0, done.stderr
    assert len(read_examples(root / "train/open/openr1_8k/math_math_test.jsonl", root)) == 6
    refgta = json.loads((root / "test/Refgta/refgta_subsample_resize.json").read_text())
    assert len(refgta) == 6
    assert all(len(row["resize_solution"]) == 4 for row in refgta)
    counting = read_examples(root / "test/superclever/superclevr_test200_counting_problems.jsonl", root)
    assert len(counting) == 5
    assert "gives away" not in done.stderr
    assert done.stderr.count("no leak found in") == 3


def test_what_is_missing_is_said_before_anything_is_built(tmp_path):
    done = subprocess.run(
        ["bash", str(ROOT / "scripts/build_data.sh"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "refcoco/refs(unc).p: not there; grpo_sft_data/README.md says where to get it" in done.stderr


def test_without_a_folder_it_says_how_it_is_used():
    done = subprocess.run(["bash", str(ROOT / "scripts/build_data.sh")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: scripts/build_data.sh RAW")
