#!/usr/bin/env bash
# All checkpoints of the last stage for Qwen2.5-VL-7B, or of another run, on this node's GPUs: evaluate.sh [RUN [flags]]
# Environment and flags: see scripts/evaluate.sh.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -x $HERE/../../.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$(realpath "$HERE/../../.venv/bin"):$PATH
fi
RUN=$(realpath -m "$HERE/../../outputs/qwen2_5_vl_7b/$(python -m curr_reft.stages | tail -n 1)")
if [[ -n ${1:-} && $1 != --* ]]; then
    RUN=$1
    shift
fi
exec bash "$HERE/../evaluate.sh" "$RUN" "$@"
