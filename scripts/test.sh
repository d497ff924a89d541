#!/usr/bin/env bash
# Run the tests: scripts/test.sh [pytest arguments], e.g. scripts/test.sh -m "not slow"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
exec .venv/bin/python -m pytest "$@"
