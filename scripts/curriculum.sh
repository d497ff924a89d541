#!/usr/bin/env bash
# The whole method as one program: scripts/curriculum.sh SIZE|CONFIG.yaml [flags of python -m curr_reft.curriculum]
#   SIZE   a folder of configs, whose curriculum.yaml is run: qwen2_5_vl_3b, qwen2_5_vl_7b, tiny
#   flags  such as --dry_run, --until stage3_open, and flags of every stage
# A finished step is skipped; an unfinished one goes on from its newest whole checkpoint, or begins again without one.
#   python -m curr_reft.curriculum status OUTPUT   tells how far it is
# From the environment, each optional:
#   MODEL       the base model (default: the configuration's, as are the next three)
#   DATA_ROOT   folder of rows and images
#   QUERY_ROOT  folder of the queries of rejection sampling, and their images
#   OUTPUT      folder that holds one folder per step
#   NPROC       processes on this node
#   NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT   several nodes: run the same script on each, with the address of node 0;
#               all folders must be shared, and of the ports MASTER_PORT (default 12347) and the next one are taken
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
if (($# < 1)); then
    echo "usage: scripts/curriculum.sh SIZE|CONFIG.yaml [flags]" >&2
    exit 2
fi
CONFIG=$1
shift
if [[ $CONFIG != *.yaml && $CONFIG != *.json ]]; then
    CONFIG=$ROOT/configs/$CONFIG/curriculum.yaml
fi
exec python -m curr_reft.curriculum "$CONFIG" \
    ${MODEL:+--model "$MODEL"} \
    ${DATA_ROOT:+--data_root "$DATA_ROOT"} \
    ${QUERY_ROOT:+--query_root "$QUERY_ROOT"} \
    ${OUTPUT:+--output_dir "$OUTPUT"} \
    ${NPROC:+--processes "$NPROC"} \
    "$@"
