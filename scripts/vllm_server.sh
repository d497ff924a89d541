#!/usr/bin/env bash
# Serve a model to training with --vllm_mode server: scripts/vllm_server.sh SIZE [flags of `vllm serve`]
#   SIZE   a folder of configs: qwen2_5_vl_3b, qwen2_5_vl_7b
# From the environment, each optional:
#   MODEL        whose architecture and processor are served (default: the base model of stage 1). Training sends its
#                weights before the first prompt; what they are beforehand does not matter
#   GPUS         GPUs for one copy of the model (default 1); CUDA_VISIBLE_DEVICES says which
#   HOST, PORT   where it listens (default 127.0.0.1 and 8000), for training --vllm_server_host and --vllm_server_port
#   MAX_LENGTH   tokens of prompt and completion together (default 2304 = 2048 + 256)
#   MIN_PIXELS, MAX_PIXELS   training's --min_pixels and --max_pixels, both where it has one (default: the model's own)
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
if (($# < 1)); then
    echo "usage: scripts/vllm_server.sh SIZE [flags of vllm serve]" >&2
    exit 2
fi
SIZE=$1
shift
if [[ ! -f $ROOT/configs/$SIZE/vllm_server.yaml ]]; then
    echo "error: no configuration configs/$SIZE/vllm_server.yaml" >&2
    exit 2
fi
HOST=${HOST:-127.0.0.1}
PORT=${PORT:-8000}
if (: >"/dev/tcp/$HOST/$PORT") 2>/dev/null; then
    echo "error: PORT=$PORT: something listens on it already; end that, or choose another" >&2
    exit 2
fi
PIXELS=()
if [[ -n ${MIN_PIXELS:-}${MAX_PIXELS:-} ]]; then
    if [[ -z ${MIN_PIXELS:-} || -z ${MAX_PIXELS:-} ]]; then
        echo "error: give both MIN_PIXELS and MAX_PIXELS" >&2
        exit 2
    fi
    PIXELS=(--mm-processor-kwargs "{\"min_pixels\": $MIN_PIXELS, \"max_pixels\": $MAX_PIXELS}")
fi
MODEL=${MODEL:-$(sed -n 's/^model_name_or_path: *//p' "$ROOT/configs/$SIZE/$(python -m curr_reft.stages | sed -n 1p).yaml")}

FLAGS=(
    --tensor-parallel-size "${GPUS:-1}"
    --max-model-len "${MAX_LENGTH:-2304}"
    --limit-mm-per-prompt '{"image": 1}'
    --weight-transfer-config '{"backend": "nccl"}'
    --logprobs-mode processed_logprobs --max-logprobs -1
    "${PIXELS[@]}" "$@"
)
# What vLLM cannot do here is one line, before weights load.
python -m curr_reft.models.vllm_support --model "$MODEL" "${FLAGS[@]}"

# Development mode opens the endpoints that take new weights.
export VLLM_SERVER_DEV_MODE=1
exec vllm serve "$MODEL" --host "$HOST" --port "$PORT" "${FLAGS[@]}"
