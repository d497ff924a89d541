#!/usr/bin/env bash
# The general benchmarks of the paper's Table 4 on a checkpoint, by lmms-eval in an environment of its own:
#   bash scripts/general_benchmarks.sh MODEL OUTPUT_DIR [--dry_run] [flags of lmms-eval]
#   MODEL        a checkpoint's folder or a hub id
#   OUTPUT_DIR   takes general_benchmarks.json, which eval/report.py reads, and lmms-eval's files below lmms_eval/
#   --dry_run    print the commands and run nothing
# From the environment:
#   OPENAI_API_KEY   of the judge that MMVet, MathVista and MATH are graded by; JUDGE=none leaves the three out
#   OPENAI_API_URL   another server that speaks OpenAI's protocol, up to and with /v1
#   MODEL_VERSION    the judge (default the paper's, gpt-4-turbo-2024-04-09; lmms-eval grades MATH by gpt-4o-mini)
#   HF_TOKEN         lmms-eval asks for a login to the hub even where a data set is open
#   NPROC            processes, each with a GPU and a share of the rows (default the machine's GPUs)
# Each benchmark is a run of its own; started again, the script goes on with those that have no results.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fail() {
    echo "error: $1" >&2
    exit 2
}

ARGUMENTS=() DRY_RUN=
for ARGUMENT in "$@"; do
    if [[ $ARGUMENT == --dry_run ]]; then DRY_RUN=1; else ARGUMENTS+=("$ARGUMENT"); fi
done
if ((${#ARGUMENTS[@]} < 2)) || [[ ${ARGUMENTS[0]} == -* || ${ARGUMENTS[1]} == -* ]]; then
    fail "usage: scripts/general_benchmarks.sh MODEL OUTPUT_DIR [--dry_run] [flags of lmms-eval]"
fi
MODEL=${ARGUMENTS[0]} OUTPUT=$(realpath -m "${ARGUMENTS[1]}") FLAGS=("${ARGUMENTS[@]:2}")
if [[ -d $MODEL ]]; then
    MODEL=$(realpath "$MODEL")
    [[ -f $MODEL/config.json ]] || fail "MODEL $MODEL: holds no config.json"
elif [[ ! $MODEL =~ ^[^./~][^/]*/[^/]+$ ]]; then
    fail "MODEL $MODEL: no such directory"
fi
[[ $MODEL != *[,=]* ]] || fail "MODEL $MODEL: lmms-eval cannot take a name with a comma or an equals sign"

TASKS=(ai2d mmbench_en_dev_static ocrbench)
if [[ ${JUDGE:-} == none ]]; then
    echo "JUDGE=none: MMVet, MathVista and MATH are left out" >&2
elif [[ -z ${OPENAI_API_KEY:-} ]]; then
    fail "OPENAI_API_KEY is not set: MMVet, MathVista and MATH are graded by a judge; JUDGE=none leaves them out"
else
    TASKS+=(mmvet mathvista_testmini_cot openai_math)
fi
if [[ -z $DRY_RUN && -z ${HF_TOKEN:-}${HF_HUB_OFFLINE:-} &&
    ! -f ${HF_TOKEN_PATH:-${HF_HOME:-$HOME/.cache/huggingface}/token} ]]; then
    fail "HF_TOKEN is not set and there is no login to the hub, which lmms-eval asks for; run hf auth login"
fi

GPUS=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
LAUNCH=(--num_processes "${NPROC:-$((GPUS > 0 ? GPUS : 1))}" --num_machines 1 --mixed_precision no --dynamo_backend no)
PLACE=
if ((GPUS == 0)); then # to try it: a 3B model is too slow there
    LAUNCH+=(--cpu) PLACE=,device=cpu,device_map=cpu
fi
run() {
    if [[ -n $DRY_RUN ]]; then
        printf '%q ' "$@" && echo
    else
        "$@"
    fi
}

LOCK=$ROOT/eval/general_benchmarks/requirements-lock.txt BENCH=$ROOT/.venv-bench
VERSION=$(sed -n 's/^lmms-eval==//p' "$LOCK")
if ! cmp -s "$LOCK" "$BENCH/.curr-reft-pins"; then
    run bash "$ROOT/scripts/setup.sh"
    UV=uv
    [[ -n $DRY_RUN ]] || UV=$(bash "$ROOT/scripts/uv.sh")
    run "$UV" venv --quiet --clear --python ">=3.11" "$BENCH"
    run "$UV" pip install --python "$BENCH/bin/python" -r "$LOCK"
    run cp "$LOCK" "$BENCH/.curr-reft-pins"
fi

# Greedy everywhere: MMVet's own settings would sample. 2,048 tokens leave room for thoughts where AI2D grants 16
# tokens. What a trained checkpoint writes up to <answer>, and </answer>, is taken off before scoring: each pair
# is a first and a last text between which lmms-eval drops everything.
TAGS='[["<think>", "<answer>"], ["<think>", "</think>"], ["</answ", "er>"]]'
has_results() { compgen -G "$OUTPUT/lmms_eval/$1/*/[0-9]*_results.json" >/dev/null; }
MISSING=()
for TASK in "${TASKS[@]}"; do
    if has_results "$TASK"; then
        echo "== $TASK has results" >&2
        continue
    fi
    echo "== $TASK" >&2
    run env "MODEL_VERSION=${MODEL_VERSION:-gpt-4-turbo-2024-04-09}" PROCESSOR=gpt-4o-mini \
        "OPENAI_BASE_URL=${OPENAI_API_URL:-https://api.openai.com/v1}" \
        "$BENCH/bin/accelerate" launch "${LAUNCH[@]}" -m lmms_eval --model qwen2_5_vl \
        --model_args "pretrained=$MODEL$PLACE" --tasks "$TASK" --batch_size 1 \
        --gen_kwargs temperature=0,max_new_tokens=2048 --reasoning_tags "$TAGS" --log_samples \
        --output_path "$OUTPUT/lmms_eval/$TASK" "${FLAGS[@]}" || true # it ends with 0 after most errors anyway
    if [[ -z $DRY_RUN ]] && ! has_results "$TASK"; then
        MISSING+=("$TASK")
    fi
done

if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
if ((${#MISSING[@]} < ${#TASKS[@]})); then
    run python -m curr_reft.evaluation.general --harness_results "$OUTPUT/lmms_eval" --harness_version "$VERSION" \
        --model "$MODEL" --output_dir "$OUTPUT"
fi
if ((${#MISSING[@]})); then
    echo "error: no results of ${MISSING[*]}; what lmms-eval printed says why" >&2
    exit 1
fi
