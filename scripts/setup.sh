#!/usr/bin/env bash
# Make the two environments from exact pins; does nothing where they are there already.
#   .venv       training by reinforcement and evaluation (train_code/requirements-lock.txt)
#   .venv-sft   supervised fine-tuning by ms-swift (train_code/sft/requirements-lock.txt)
#   bash scripts/setup.sh [--flash-attn]
#   --flash-attn   also build and install flash-attn in both, which needs a GPU's CUDA toolkit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FLASH_ATTN_VERSION=2.8.3
if [[ -n ${1:-} && $1 != --flash-attn ]]; then
    echo "error: unknown argument '$1': --flash-attn or none" >&2
    exit 2
fi
pins() { cat "$@" | sha256sum; }
is_made() { # ENVIRONMENT PINS
    [[ -f $1/.curr-reft-pins && "$(cat "$1/.curr-reft-pins")" == "$2" ]]
}
install() { # ENVIRONMENT LOCK
    UV=$(bash scripts/uv.sh)
    if [[ ! -x $1/bin/python ]]; then
        "$UV" venv --quiet --python ">=3.11.4" "$1"
    fi
    echo "installing the pinned environment into $1" >&2
    # Compiled once here: each process that imports torch and transformers would spend 20 seconds on it.
    "$UV" pip install --compile-bytecode --python "$1/bin/python" -r "$2"
}

PINS=$(pins train_code/requirements-lock.txt pyproject.toml)
if ! is_made .venv "$PINS"; then
    install .venv train_code/requirements-lock.txt
    "$UV" pip install --quiet --python .venv/bin/python --no-deps -e .
    echo "$PINS" >.venv/.curr-reft-pins
fi
PINS=$(pins train_code/sft/requirements-lock.txt)
if ! is_made .venv-sft "$PINS"; then
    install .venv-sft train_code/sft/requirements-lock.txt
    echo "$PINS" >.venv-sft/.curr-reft-pins
fi
if [[ ${1:-} == --flash-attn ]]; then
    UV=$(bash scripts/uv.sh)
    for ENVIRONMENT in .venv .venv-sft; do
        # Built against the torch that is installed, so without isolation, and with the tools its build imports.
        "$UV" pip install --python $ENVIRONMENT/bin/python wheel setuptools packaging psutil ninja
        "$UV" pip install --python $ENVIRONMENT/bin/python --no-build-isolation "flash-attn==$FLASH_ATTN_VERSION"
    done
fi
