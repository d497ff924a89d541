#!/usr/bin/env bash
# From nothing to a table: set up, write the embedded world, and run the whole method on the tiny model: train the three
# stages one after the other, let the model sample answers, keep the best of them, fine-tune on these with ms-swift, and
# score base and every step. No GPU and no download of models or data; some 5 minutes on 2 cores.
#   SEED     seed of all steps (default 42)
#   OUTPUT   where everything is written (default outputs/quickstart/seed$SEED)
# Started again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
PATH=$PWD/.venv/bin:$PATH

SEED=${SEED:-42}
OUTPUT=$(realpath -m "${OUTPUT:-outputs/quickstart/seed$SEED}")
DATA_ROOT=$OUTPUT/data
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1
if [[ ! -f $DATA_ROOT/queries/sums_queries.jsonl ]]; then
    echo "== writing the embedded world" >&2
    python -m curr_reft.data.shapes --output_dir "$DATA_ROOT" --queries 60
fi
# Small matrices: two processes of one thread are faster than one of two. One core still works, in twice the time.
exec python -m curr_reft.curriculum configs/tiny/curriculum.yaml --output_dir "$OUTPUT" --data_root "$DATA_ROOT" \
    --query_root "$DATA_ROOT" --processes "${NPROC:-2}" --seed "$SEED" "$@"
