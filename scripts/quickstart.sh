#!/usr/bin/env bash
# From nothing to a table: set up, write the embedded world, score the tiny base model, train the three stages one
# after the other and score after each, then let the model sample answers, keep the best of them, fine-tune on these
# with ms-swift, and score once more. No GPU and no download of models or data; 3 minutes on 2 cores
# that do nothing else.
#   SEED     seed of the training runs (default 42)
#   OUTPUT   where everything is written (default outputs/quickstart/seed$SEED)
# Started again, it goes on where it stopped.
set -euo pipefail
# What is started here ends when this script has been ended.
export CURR_REFT_OWNERS="${CURR_REFT_OWNERS:-} $$"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
PATH=$PWD/.venv/bin:$PATH

SEED=${SEED:-42}
OUTPUT=$(realpath -m "${OUTPUT:-outputs/quickstart/seed$SEED}")
export OUTPUT DATA_ROOT=$OUTPUT/data HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Small matrices: two processes of one thread are faster than one of two. One core still works, in twice the time.
export NPROC=${NPROC:-2}
BASE=train_code/curr_reft/data/shapes/tiny/base

evaluate() { # NAME CHECKPOINT
    echo "== scoring $1" >&2
    python eval/evaluate.py --model "$2" --final_only --suites in --suites_config configs/eval/shapes.yaml \
        --data_root "$DATA_ROOT" --output_dir "$OUTPUT/scores/$1" --max_new_tokens 80 >/dev/null
}

if [[ ! -f $DATA_ROOT/queries/sums_queries.jsonl ]]; then
    echo "== writing the embedded world" >&2
    python -m curr_reft.data.shapes --output_dir "$DATA_ROOT" --queries 60
fi
evaluate base $BASE
SCORES=("base=$OUTPUT/scores/base")
for STAGE in $(python -m curr_reft.stages); do
    if ! grep -qs '"status": "finished"' "$OUTPUT/$STAGE/manifest.json"; then
        echo "== training $STAGE" >&2
        OMP_NUM_THREADS=1 bash scripts/launch.sh tiny "$STAGE" --seed "$SEED" --data_seed "$SEED"
    fi
    evaluate "${STAGE#stage?_}" "$OUTPUT/$STAGE"
    SCORES+=("${STAGE#stage?_}=$OUTPUT/scores/${STAGE#stage?_}")
    LAST=$STAGE
done

if ! grep -qs '"status": "finished"' "$OUTPUT/reject_sft/manifest.json"; then
    echo "== sampling, judging and selecting the model's own answers" >&2
    IMPROVEMENT=$OUTPUT/self_improvement
    REJECT=$OUTPUT/SFT_data/reject/cat_all_formatted.jsonl
    TRAINED=$OUTPUT/$LAST
    OMP_NUM_THREADS=1 MODEL=$TRAINED CONFIG=configs/self_improvement/shapes.yaml JUDGE=rule \
        OUTPUT=$IMPROVEMENT DATA=$REJECT bash scripts/self_improvement.sh --max_new_tokens 80 --seed "$SEED"
    echo "== fine-tuning on them" >&2
    python train_code/sft/reject_sft.py --config configs/tiny/reject_sft.yaml --model "$TRAINED" \
        --dataset "$REJECT" --output_dir "$OUTPUT/reject_sft" --seed "$SEED" \
        --held_out_suites configs/eval/shapes.yaml --data_root "$DATA_ROOT" >"$OUTPUT/reject_sft.log" 2>&1 ||
        { tail -n 20 "$OUTPUT/reject_sft.log" >&2 && exit 1; }
fi
evaluate reject_sft "$OUTPUT/reject_sft"

python eval/report.py "${SCORES[@]}" reject_sft="$OUTPUT/scores/reject_sft" "$OUTPUT" --output_dir "$OUTPUT/report"
echo "checkpoints, logs and predictions: $OUTPUT"
