#!/usr/bin/env bash
# Print the path of uv: the one on PATH, else one installed into .tools of this repository, never into the system's
# Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_VERSION=0.13.9
if command -v uv; then
    exit 0
fi
if [[ ! -x .tools/bin/uv ]]; then
    # --target is allowed where the system's Python forbids pip (PEP 668); venv covers a Python without pip.
    python3 -m pip install --quiet --target .tools "uv==$UV_VERSION" >&2 ||
        { python3 -m venv .tools/venv >&2 && .tools/venv/bin/pip install --quiet "uv==$UV_VERSION" >&2 &&
            mkdir -p .tools/bin && ln -sf ../venv/bin/uv .tools/bin/uv; } ||
        { echo "error: uv is missing and neither pip nor venv could install it; see https://docs.astral.sh/uv" >&2
            exit 2; }
fi
echo "$PWD/.tools/bin/uv"
