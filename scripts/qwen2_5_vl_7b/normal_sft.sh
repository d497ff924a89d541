#!/usr/bin/env bash
# The supervised baseline for Qwen2.5-VL-7B on two nodes of 8 GPUs (run it on both, NODE_RANK=0 and 1).
# Environment and flags: see scripts/sft.sh, e.g.  DATA=chosen.jsonl normal_sft.sh --dry_run
export NNODES=${NNODES:-2} NPROC=${NPROC:-8}
exec bash "$(dirname "${BASH_SOURCE[0]}")/../sft.sh" qwen2_5_vl_7b normal_sft "$@"
