#!/usr/bin/env bash
# Supervised fine-tuning by ms-swift: scripts/sft.sh SIZE RUN [flags of `swift sft`]
#   SIZE   a folder of configs: qwen2_5_vl_3b, qwen2_5_vl_7b, tiny
#   RUN    reject_sft or normal_sft
# From the environment, each optional:
#   MODEL       what it starts from (default: reject_sft the last stage below OUTPUT, normal_sft the configuration's model)
#   DATA        rows of messages (default: the configuration's)
#   DATA_ROOT   folder of the held-out suites (default grpo_sft_data/grpo_data)
#   OUTPUT      folder that holds one folder per stage and run (default outputs/SIZE)
#   ROOT_IMAGE_DIR   where relative image paths start (default grpo_sft_data/SFT_data)
#   MAX_PIXELS  pixels that larger images are shrunk to (default: the configuration's)
#   NPROC       processes on this node (default: its GPUs, 1 without any)
#   NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT   several nodes: run the same script on each, with the address of
#               node 0; DATA, its images and OUTPUT must be the same shared places on all
# Relative paths in flags are relative to the repository.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
if (($# < 2)); then
    echo "usage: scripts/sft.sh SIZE RUN [flags]" >&2
    exit 2
fi
SIZE=$1 RUN=$2
shift 2

absolute() { if [[ -e $1 || $1 == ./* || $1 == ../* ]]; then realpath -m "$1"; else echo "$1"; fi; }
OUTPUT=$(realpath -m "${OUTPUT:-$ROOT/outputs/$SIZE}")
case $RUN in
    reject_sft) MODEL=$(absolute "${MODEL:-$OUTPUT/$(python -m curr_reft.stages | tail -n 1)}") ;;
    normal_sft) MODEL=${MODEL:+$(absolute "$MODEL")} ;;
    *) echo "error: unknown run '$RUN': reject_sft or normal_sft" >&2 && exit 2 ;;
esac
if [[ ! -f $ROOT/configs/$SIZE/$RUN.yaml ]]; then
    echo "error: no configuration configs/$SIZE/$RUN.yaml" >&2
    exit 2
fi
DATA=${DATA:+$(realpath -m "$DATA")}
DATA_ROOT=$(realpath -m "${DATA_ROOT:-$ROOT/grpo_sft_data/grpo_data}")
ROOT_IMAGE_DIR=$(realpath -m "${ROOT_IMAGE_DIR:-$ROOT/grpo_sft_data/SFT_data}")
export ROOT_IMAGE_DIR

# Swift starts torchrun when it finds NPROC_PER_NODE. Without it, one process takes all GPUs it sees for one model.
GPUS=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
if [[ -n ${NPROC:-} ]] || ((GPUS > 0)); then
    export NPROC_PER_NODE=${NPROC:-$GPUS}
fi
if ((${NNODES:-1} > 1)); then
    if [[ -z ${MASTER_ADDR:-} || -z ${NODE_RANK:-} ]]; then
        echo "error: NNODES=$NNODES needs MASTER_ADDR, the address of node 0, and NODE_RANK" >&2
        exit 2
    fi
    export NNODES NODE_RANK MASTER_ADDR MASTER_PORT=${MASTER_PORT:-12347} NPROC_PER_NODE=${NPROC_PER_NODE:-1}
fi

cd "$ROOT"
exec python "train_code/sft/$RUN.py" \
    --config "configs/$SIZE/$RUN.yaml" \
    --data_root "$DATA_ROOT" \
    --output_dir "$OUTPUT/$RUN" \
    ${MODEL:+--model "$MODEL"} \
    ${DATA:+--dataset "$DATA"} \
    "$@"
