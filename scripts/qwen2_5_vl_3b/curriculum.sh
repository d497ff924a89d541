#!/usr/bin/env bash
# The three stages for Qwen2.5-VL-3B in order; see scripts/curriculum.sh.
# Environment: see scripts/launch.sh; MODEL is the base model. Flags go to every stage.
set -euo pipefail
export NPROC=${NPROC:-8}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$HERE/../curriculum.sh" qwen2_5_vl_3b "$@"
