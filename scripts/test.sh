#!/usr/bin/env bash
# Run the tests: scripts/test.sh [pytest arguments], e.g. scripts/test.sh -m "not slow"
# Two at a time, each of one thread: much of their time goes into imports, which use one core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec .venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
