#!/usr/bin/env bash
# Stage 1 for Qwen2.5-VL-3B on one node of 8 GPUs.
# Environment and flags: see scripts/launch.sh, e.g.  DATA_ROOT=/data/grpo_data stage1_judge.sh --dry_run
export NPROC=${NPROC:-8}
exec bash "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" qwen2_5_vl_3b stage1_judge "$@"
