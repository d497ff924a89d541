#!/usr/bin/env bash
# The three stages for Qwen2.5-VL-7B in order; see scripts/curriculum.sh.
# Environment: see scripts/launch.sh; MODEL is the base model. Flags go to every stage.
set -euo pipefail
export NNODES=${NNODES:-2} NPROC=${NPROC:-8}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$HERE/../curriculum.sh" qwen2_5_vl_7b "$@"
