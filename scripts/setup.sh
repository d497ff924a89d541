#!/usr/bin/env bash
# Make the environment .venv from exact pins (requirements-lock.txt); does nothing when it is there already.
#   bash scripts/setup.sh [--flash-attn]
#   --flash-attn   also build and install flash-attn, which needs a GPU's CUDA toolkit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FLASH_ATTN_VERSION=2.8.3
STAMP=.venv/.curr-reft-pins
PINS=$(cat requirements-lock.txt pyproject.toml | sha256sum)
if [[ -n ${1:-} && $1 != --flash-attn ]]; then
    echo "error: unknown argument '$1': --flash-attn or none" >&2
    exit 2
fi
if [[ -z ${1:-} && -f $STAMP && "$(cat $STAMP)" == "$PINS" ]]; then
    exit 0
fi

UV=$(bash scripts/uv.sh)
if [[ ! -x .venv/bin/python ]]; then
    "$UV" venv --quiet --python ">=3.11" .venv
fi
echo "installing the pinned environment into .venv" >&2
"$UV" pip install --python .venv/bin/python -r requirements-lock.txt
"$UV" pip install --quiet --python .venv/bin/python --no-deps -e .
echo "$PINS" >$STAMP
if [[ ${1:-} == --flash-attn ]]; then
    # Built against the torch that is installed, so without isolation, and with the tools its build imports.
    "$UV" pip install --python .venv/bin/python wheel setuptools packaging psutil ninja
    "$UV" pip install --python .venv/bin/python --no-build-isolation "flash-attn==$FLASH_ATTN_VERSION"
fi
