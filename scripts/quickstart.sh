#!/usr/bin/env bash
# From nothing to a table: set up, write the embedded world, score the tiny base model, train the three stages one
# after the other, and score after each. No GPU and no download of models or data; about ten minutes on 2 cores.
#   SEED     seed of the training runs (default 42)
#   OUTPUT   where everything is written (default outputs/quickstart/seed$SEED)
# Started again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
PATH=$PWD/.venv/bin:$PATH

SEED=${SEED:-42}
OUTPUT=$(realpath -m "${OUTPUT:-outputs/quickstart/seed$SEED}")
export OUTPUT DATA_ROOT=$OUTPUT/data HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Small matrices: two processes of one thread are faster than one of two. One core still works, in twice the time.
export NPROC=${NPROC:-2}
BASE=train_code/curr_reft/tiny/base

evaluate() { # NAME CHECKPOINT
    echo "== scoring $1" >&2
    python eval/evaluate.py --model "$2" --final_only --suites in --suites_config configs/eval/shapes.yaml \
        --data_root "$DATA_ROOT" --output_dir "$OUTPUT/scores/$1" --max_new_tokens 80 >/dev/null
}

if [[ ! -f $DATA_ROOT/test/math_test.jsonl ]]; then
    echo "== writing the embedded world" >&2
    python -m curr_reft.data.shapes_dataset --output_dir "$DATA_ROOT"
fi
evaluate base $BASE
for STAGE in stage1_judge stage2_choice stage3_open; do
    if ! grep -qs '"status": "finished"' "$OUTPUT/$STAGE/manifest.json"; then
        echo "== training $STAGE" >&2
        OMP_NUM_THREADS=1 bash scripts/launch.sh tiny $STAGE --seed "$SEED" --data_seed "$SEED"
    fi
    evaluate "${STAGE#stage?_}" "$OUTPUT/$STAGE"
done

python eval/report.py base="$OUTPUT/scores/base" judge="$OUTPUT/scores/judge" \
    choice="$OUTPUT/scores/choice" open="$OUTPUT/scores/open" "$OUTPUT" --output_dir "$OUTPUT/report"
echo "checkpoints, logs and predictions: $OUTPUT"
