#!/usr/bin/env bash
# Train one stage under torchrun: scripts/launch.sh SIZE STAGE [flags of the stage script]
#   SIZE   a folder of configs: qwen2_5_vl_3b, qwen2_5_vl_7b, tiny
#   STAGE  a stage of curr_reft/stages.py: stage1_judge, stage2_choice, stage3_open
# From the environment, each optional:
#   MODEL        what the stage starts from (default: stage 1 the configuration's model, else the previous stage)
#   DATA_ROOT    folder of rows and images (default grpo_sft_data/grpo_data)
#   OUTPUT       folder that holds one folder per stage (default outputs/SIZE)
#   NPROC        processes on this node (default: its GPUs, 1 without any)
#   NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT   several nodes: run the same script on each, with the address of
#                node 0; DATA_ROOT and OUTPUT must be the same shared folders on all
# Relative paths in flags are relative to the repository.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if (($# < 2)); then
    echo "usage: scripts/launch.sh SIZE STAGE [flags]" >&2
    exit 2
fi
SIZE=$1 STAGE=$2
shift 2

absolute() { if [[ -e $1 || $1 == ./* || $1 == ../* ]]; then realpath -m "$1"; else echo "$1"; fi; }
DATA_ROOT=$(realpath -m "${DATA_ROOT:-$ROOT/grpo_sft_data/grpo_data}")
OUTPUT=$(realpath -m "${OUTPUT:-$ROOT/outputs/$SIZE}")
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
STAGES=$(python -m curr_reft.stages)
if ! grep -qx "$STAGE" <<<"$STAGES"; then
    echo "error: unknown stage '$STAGE': one of ${STAGES//$'\n'/ }" >&2
    exit 2
fi
PREVIOUS=$(grep -x -B 1 "$STAGE" <<<"$STAGES" | sed '$d')
MODEL=${MODEL:-${PREVIOUS:+$OUTPUT/$PREVIOUS}}
MODEL=${MODEL:+$(absolute "$MODEL")}
if [[ ! -f $ROOT/configs/$SIZE/$STAGE.yaml ]]; then
    echo "error: no configuration configs/$SIZE/$STAGE.yaml" >&2
    exit 2
fi
GPUS=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)

if ((${NNODES:-1} > 1)); then
    if [[ -z ${MASTER_ADDR:-} || -z ${NODE_RANK:-} ]]; then
        echo "error: NNODES=$NNODES needs MASTER_ADDR, the address of node 0, and NODE_RANK" >&2
        exit 2
    fi
    RENDEZVOUS=(--nnodes="$NNODES" --node_rank="$NODE_RANK" --master_addr="$MASTER_ADDR"
        --master_port="${MASTER_PORT:-12347}")
elif [[ -n ${MASTER_PORT:-} ]]; then
    RENDEZVOUS=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$MASTER_PORT")
else
    RENDEZVOUS=(--standalone)
fi

cd "$ROOT"
exec python -m curr_reft.training.launch \
    "${RENDEZVOUS[@]}" \
    --nproc_per_node="${NPROC:-$((GPUS > 0 ? GPUS : 1))}" \
    train_code/grpo/stage.py "$STAGE" \
    --config "configs/$SIZE/$STAGE.yaml" \
    --image_root "$DATA_ROOT" \
    --output_dir "$OUTPUT/$STAGE" \
    --run_name "$SIZE-$STAGE" \
    ${MODEL:+--model_name_or_path "$MODEL"} \
    "$@"
