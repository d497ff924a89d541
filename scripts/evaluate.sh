#!/usr/bin/env bash
# Score all checkpoints of a run on all GPUs of this machine, and write the report: scripts/evaluate.sh RUN [flags]
#   RUN    a training run, whose checkpoint-* and final weights are scored by step, or one checkpoint
#   flags  of eval/evaluate.py, such as --suites in --sample_num 100 --batch_size 128 --final_only
# All processes share the rows of one checkpoint, so that a single one is scored as fast as many.
# From the environment, each optional:
#   DATA_ROOT   folder of rows and images (default grpo_sft_data/grpo_data)
#   OUTPUT      where answers, scores and report go (default outputs/evaluation/ and the last two parts of RUN)
#   NPROC       processes (default: this machine's GPUs, 1 without any)
# Started again, it goes on where it stopped. Relative paths in flags are relative to the repository.
set -euo pipefail
# What is started here ends when this script has been ended.
export CURR_REFT_OWNERS="${CURR_REFT_OWNERS:-} $$"
shopt -s globstar
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# < 1)); then
    echo "usage: scripts/evaluate.sh RUN [flags of eval/evaluate.py]" >&2
    exit 2
fi
RUN=$1
shift
if [[ -e $RUN ]]; then
    RUN=$(realpath "$RUN")
fi
DATA_ROOT=$(realpath -m "${DATA_ROOT:-$ROOT/grpo_sft_data/grpo_data}")
# Runs of different sizes have stages, and checkpoints, of the same name.
PARENT=$(dirname "$RUN")
NAME=$(basename "$PARENT")/$(basename "$RUN")
if [[ $(basename "$RUN") == checkpoint-* ]]; then
    NAME=$(basename "$(dirname "$PARENT")")/$NAME
fi
OUTPUT=$(realpath -m "${OUTPUT:-$ROOT/outputs/evaluation/$NAME}")
if [[ " $* " == *" --output_dir "* || " $* " == *" --model "* ]]; then
    echo "error: give RUN as the first argument and the folder as OUTPUT, not as flags" >&2
    exit 2
fi
GPUS=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi

cd "$ROOT"
STATUS=0
python -m curr_reft.training.launch --standalone --nproc_per_node="${NPROC:-$((GPUS > 0 ? GPUS : 1))}" \
    eval/evaluate.py --model "$RUN" --data_root "$DATA_ROOT" --output_dir "$OUTPUT" "$@" || STATUS=$?
# Exit code 2: a suite could not be scored, maybe not all of them.
if ((STATUS == 0)) || { ((STATUS == 2)) && compgen -G "$OUTPUT/**/scores.json" >/dev/null; }; then
    python eval/report.py "$OUTPUT" --domain all --output_dir "$OUTPUT/report"
fi
exit "$STATUS"
