#!/usr/bin/env bash
# Try what needs a GPU: versions, step benchmark, three stages, resume, evaluation, vLLM; see scripts/gpu_check.
#   bash scripts/gpu_check.sh [--output DIR] [--minutes 9] [--preset 3b|tiny] [--dry_run]
# One GPU, no network, 35 GB of disk. Writes gpu_check.json and gpu_check.md. Not run on a GPU yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -x .venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$PWD/.venv/bin:$PATH
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec python scripts/gpu_check "$@"
