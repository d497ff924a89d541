#!/usr/bin/env bash
# The three stages and the test files from raw public annotations, under the released names:
#   bash scripts/build_data.sh RAW
# RAW holds what you downloaded (see grpo_sft_data/README.md): refcoco/, math/, voc/, superclevr/, refgta/.
#   DATA_ROOT         where rows go and images are (default grpo_sft_data/grpo_data); images in DATA_ROOT/images
#   TRAIN VAL TEST    rows per task (default 2700, 300 and 1000; TEST_MATH, default 200, for counting)
#   SEED              of sampling and of the judge and choice rows (default 42)
#   DROP_BAD_ROWS=1   leave bad records out; they are listed either way
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# != 1)) || [[ ! -d $1 ]]; then
    echo "usage: scripts/build_data.sh RAW   (a folder; see grpo_sft_data/README.md)" >&2
    exit 2
fi
RAW=$(realpath "$1")
ROOT=$(realpath -m "${DATA_ROOT:-$HERE/grpo_sft_data/grpo_data}")
TRAIN=${TRAIN:-2700} VAL=${VAL:-300} TEST=${TEST:-1000} TEST_MATH=${TEST_MATH:-200} SEED=${SEED:-42}
ALL=$ROOT/all_rows OPEN=$ROOT/train/open JUDGE=$ROOT/train/judge CHOICE=$ROOT/train/choice
COCO=$OPEN/coco_3k_2task MATH=$OPEN/openr1_8k
DROP=(${DROP_BAD_ROWS:+--drop_bad_rows})
PATH=$HERE/.venv/bin:$PATH

for FILE in "refcoco/refs(unc).p" refcoco/instances.json math/train_samples_all_tuning.json math/qa_tuning.json \
    "refgta/refs(utokyo).p" refgta/instances.json voc/Annotations voc/ImageSets/Main/val.txt \
    superclevr/superCLEVR_scenes.json; do
    if [[ ! -e $RAW/$FILE ]]; then
        echo "error: $RAW/$FILE: not there; grpo_sft_data/README.md says where to get it" >&2
        exit 2
    fi
done
for FOLDER in coco/train2014 mathv360k geo170k; do
    if [[ ! -d $ROOT/images/$FOLDER ]]; then
        echo "error: $ROOT/images/$FOLDER: no such folder; the images of RefCOCO, MathV360K and Geo170K go there" >&2
        exit 2
    fi
done

source_rows() { # BUILDER FLAGS...
    python -m "curr_reft.data.sources.$1" "${@:2}" "${DROP[@]}"
}
split() {
    python -m curr_reft.data.split "$@" --seed "$SEED" --image_root "$ROOT"
}
tasks() { # OPEN_ROWS JUDGE_FILE CHOICE_FILE FLAGS...
    python -m curr_reft.data.reformat "$1" --image_root "$ROOT" --judge "$2" --choice "$3" --seed "$SEED" "${DROP[@]}" "${@:4}"
}

echo "== detection: RefCOCO" >&2
source_rows refcoco --refs "$RAW/refcoco/refs(unc).p" --instances "$RAW/refcoco/instances.json" \
    --sentences first --output "$ALL/detection.jsonl"
split "$ALL/detection.jsonl" --parts "$COCO/detection_coco_test.jsonl=$TEST" \
    "$COCO/detection_coco_train.jsonl=$TRAIN" "$COCO/detection_coco_val.jsonl=$VAL"

echo "== classification: RefCOCO's images, COCO's supercategories" >&2
source_rows coco --annotations "$RAW/refcoco/instances.json" --output "$ALL/classify.jsonl"
# No image is trained on in one task and tested on in the other.
split "$ALL/classify.jsonl" --parts "$COCO/classify_v2_coco_test.jsonl=$TEST" \
    --avoid "$COCO/detection_coco_train.jsonl" "$COCO/detection_coco_val.jsonl"
split "$ALL/classify.jsonl" --parts "$COCO/classify_v2_coco_train.jsonl=$TRAIN" \
    "$COCO/classify_v2_coco_val.jsonl=$VAL" \
    --avoid "$COCO/detection_coco_test.jsonl" "$COCO/classify_v2_coco_test.jsonl"

echo "== math: MathV360K and Geo170K" >&2
# Most of MathV360K's VQA subsets answer in words, which the math reward does not read: they are left out here.
source_rows math_conversations --dataset mathv360k --drop_bad_rows \
    --conversations "$RAW/math/train_samples_all_tuning.json" --output "$ALL/mathv360k.jsonl"
source_rows math_conversations --dataset geo170k --drop_bad_rows \
    --conversations "$RAW/math/qa_tuning.json" --output "$ALL/geo170k.jsonl"
split "$ALL/mathv360k.jsonl" "$ALL/geo170k.jsonl" --parts "$MATH/math_math_test.jsonl=$TEST" \
    "$MATH/math_math_train.jsonl=$TRAIN" "$MATH/math_math_val.jsonl=$VAL"

echo "== out of domain: RefGTA, Pascal VOC, Super-CLEVR" >&2
source_rows refgta --refs "$RAW/refgta/refs(utokyo).p" --instances "$RAW/refgta/instances.json" --split test \
    --sentences first --output "$ALL/refgta.json"
split "$ALL/refgta.json" --parts "$ROOT/test/Refgta/refgta_subsample_resize.json=$TEST"
source_rows voc --annotations "$RAW/voc/Annotations" --image_set "$RAW/voc/ImageSets/Main/val.txt" \
    --output "$ALL/voc.jsonl"
split "$ALL/voc.jsonl" --parts "$ROOT/test/pascal/classify_pascal_voc_test.jsonl=$TEST"
# Scenes, not questions: the released test asks for the number of items of every image.
source_rows superclevr --scenes "$RAW/superclevr/superCLEVR_scenes.json" --output "$ALL/superclevr.jsonl"
split "$ALL/superclevr.jsonl" \
    --parts "$ROOT/test/superclever/superclevr_test200_counting_problems.jsonl=$TEST_MATH"

echo "== judge and choice rows" >&2
tasks "$COCO/detection_coco_train.jsonl" "$JUDGE/addition_coco_judge_detection.jsonl" \
    "$CHOICE/choice_detection_coco_train.jsonl"
tasks "$COCO/detection_coco_val.jsonl" "$JUDGE/judge_detection_coco_val.jsonl" \
    "$CHOICE/choice_detection_coco_val.jsonl"
for PART in train val; do
    tasks "$COCO/classify_v2_coco_$PART.jsonl" "$JUDGE/judge_v2_coco_$PART.jsonl" \
        "$CHOICE/choice_classify_v2_coco_$PART.jsonl"
done
# Some math rows list their options in a way that cannot be taken apart.
tasks "$MATH/math_math_train.jsonl" "$JUDGE/judge_math_train.jsonl" "$CHOICE/math_choice_v2_math_train.jsonl" \
    --drop_bad_rows
tasks "$MATH/math_math_val.jsonl" "$JUDGE/judge_math_val.jsonl" "$CHOICE/math_choice_math_val.jsonl" --drop_bad_rows

echo "== held-out rows in training?" >&2
for MIXTURE in stage1_judge/3_tasks stage2_multi_choice/3_tasks_3000 others/det_classify_math; do
    python -m curr_reft.data.leaks --dataset_name "$HERE/configs/data/$MIXTURE.yaml" \
        --suites "$HERE/configs/eval/released.yaml" --image_root "$ROOT"
done
echo "rows are in $ROOT; look at them with python -m curr_reft.training.preview" >&2
