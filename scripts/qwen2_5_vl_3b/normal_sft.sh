#!/usr/bin/env bash
# The supervised baseline for Qwen2.5-VL-3B on one node of 8 GPUs.
# Environment and flags: see scripts/sft.sh, e.g.  DATA=chosen.jsonl normal_sft.sh --dry_run
export NPROC=${NPROC:-8}
exec bash "$(dirname "${BASH_SOURCE[0]}")/../sft.sh" qwen2_5_vl_3b normal_sft "$@"
