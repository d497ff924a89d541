#!/usr/bin/env bash
# From a trained model to the answers it is fine-tuned on next: sample, judge, select.
#   scripts/self_improvement.sh [flags of python -m curr_reft.self_improvement.candidates]
# From the environment, each optional:
#   MODEL       who answers (default outputs/qwen2_5_vl_3b/stage3_open)
#   CONFIG      sources and quotas (default configs/self_improvement/released.yaml)
#   DATA_ROOT   folder of queries and their images (default grpo_sft_data/SFT_data)
#   OUTPUT      answers, scores and statistics (default outputs/self_improvement)
#   DATA        the selected examples (default grpo_sft_data/SFT_data/reject/cat_all_formatted.jsonl)
#   JUDGE       rule, or llm (the default), which needs JUDGE_URL and JUDGE_MODEL, and JUDGE_API_KEY where the
#               server wants a key
#   JUDGE_FLAGS more flags of python -m curr_reft.self_improvement.judge, such as "--threads 32 --no_images"
#   TASKS       Python files of tasks of your own, for all three steps
#   NPROC       processes that sample with --backend transformers (default: this machine's GPUs, 1 without any)
# Each step goes on where it stopped when this is started again.
set -euo pipefail
# What is started here ends when this script has been ended.
export CURR_REFT_OWNERS="${CURR_REFT_OWNERS:-} $$"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
MODEL=${MODEL:-$ROOT/outputs/qwen2_5_vl_3b/$(python -m curr_reft.stages | tail -n 1)}
# What is no folder is an id on the hub.
if [[ -e $MODEL ]]; then
    MODEL=$(realpath "$MODEL")
fi
CONFIG=$(realpath -m "${CONFIG:-$ROOT/configs/self_improvement/released.yaml}")
DATA_ROOT=$(realpath -m "${DATA_ROOT:-$ROOT/grpo_sft_data/SFT_data}")
OUTPUT=$(realpath -m "${OUTPUT:-$ROOT/outputs/self_improvement}")
DATA=$(realpath -m "${DATA:-$ROOT/grpo_sft_data/SFT_data/reject/cat_all_formatted.jsonl}")
JUDGE=${JUDGE:-llm}
GPUS=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
ASK_JUDGE=(--judge "$JUDGE")
if [[ $JUDGE == llm ]]; then
    if [[ -z ${JUDGE_URL:-} || -z ${JUDGE_MODEL:-} ]]; then
        echo "error: JUDGE=llm needs JUDGE_URL and JUDGE_MODEL; JUDGE=rule needs no server" >&2
        exit 2
    fi
    ASK_JUDGE+=(--judge_url "$JUDGE_URL" --judge_model "$JUDGE_MODEL")
fi
read -ra OWN_TASKS <<<"${TASKS:+--tasks $TASKS}"
read -ra MORE_JUDGE_FLAGS <<<"${JUDGE_FLAGS:-}"
ASKED=(--model "$MODEL")
NPROC=${NPROC:-$((GPUS > 0 ? GPUS : 1))}
case " $* " in
    *" --backend endpoint "* | *" --backend=endpoint "*) NPROC=1 ASKED=() ;;
    *" --backend vllm "* | *" --backend=vllm "*) NPROC=1 ;;
esac

cd "$ROOT"
python -m curr_reft.training.launch --standalone --nproc_per_node="$NPROC" --module \
    curr_reft.self_improvement.candidates --config "$CONFIG" --data_root "$DATA_ROOT" --output_dir "$OUTPUT" \
    "${ASKED[@]}" "${OWN_TASKS[@]}" "$@"
python -m curr_reft.self_improvement.judge --output_dir "$OUTPUT" "${ASK_JUDGE[@]}" "${MORE_JUDGE_FLAGS[@]}" \
    "${OWN_TASKS[@]}"
exec python -m curr_reft.self_improvement.select --config "$CONFIG" --output_dir "$OUTPUT" --output "$DATA" \
    "${OWN_TASKS[@]}"
