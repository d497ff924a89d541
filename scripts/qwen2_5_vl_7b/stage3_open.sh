#!/usr/bin/env bash
# Stage 3 for Qwen2.5-VL-7B on two nodes of 8 GPUs (run it on both, NODE_RANK=0 and 1).
# Environment and flags: see scripts/launch.sh, e.g.  DATA_ROOT=/data/grpo_data stage3_open.sh --dry_run
export NNODES=${NNODES:-2} NPROC=${NPROC:-8}
exec bash "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" qwen2_5_vl_7b stage3_open "$@"
