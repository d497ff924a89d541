#!/usr/bin/env bash
# The whole method for Qwen2.5-VL-3B; the three stages alone with --until stage3_open.
# Environment and flags: see scripts/curriculum.sh; the judge's server: JUDGE_URL and JUDGE_MODEL.
set -euo pipefail
export NPROC=${NPROC:-8}
exec bash "$(dirname "${BASH_SOURCE[0]}")/../curriculum.sh" qwen2_5_vl_3b "$@"
