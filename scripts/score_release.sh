#!/usr/bin/env bash
# Score the models that the authors published, on the test files they published, asked as their evaluator asked:
#   bash scripts/score_release.sh [--dry_run] [flags of eval/evaluate.py, such as --sample_num 100]
#   --dry_run   print the commands and run nothing
# Fetches what is missing, evaluates every suite with --prompts released (each answer is scored strictly, tolerantly
# and by the released rules), and writes a report that sets the paper's Tables 1 and 3 beside it.
# From the environment, each optional:
#   MODELS      ids on the hub (default ZTE-AIM/3B-Curr-ReFT and ZTE-AIM/7B-Curr-ReFT); one that cannot be had is
#               named, and the others are scored
#   DATA_ROOT   rows and images that are there already (default: grpo_sft_data/grpo_data, fetched)
#   OUTPUT      models, answers, scores and report (default outputs/score_release)
#   NPROC       processes (default: this machine's GPUs, 1 without any)
# Started again, it goes on where it stopped. Not run: it needs the hub, COCO's images (grpo_sft_data/README.md) and
# a GPU.
set -euo pipefail
shopt -s globstar
# What is started here ends when this script has been ended.
export CURR_REFT_OWNERS="${CURR_REFT_OWNERS:-} $$"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -x $ROOT/.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$ROOT/.venv/bin:$PATH
fi
FLAGS=() DRY_RUN=
for FLAG in "$@"; do
    if [[ $FLAG == --dry_run ]]; then DRY_RUN=1; else FLAGS+=("$FLAG"); fi
done
if [[ " ${FLAGS[*]} " == *" --prompts"[\ =]* ]]; then
    echo "error: --prompts: this script asks as the released evaluator did; scripts/evaluate.sh takes the flag" >&2
    exit 2
fi
read -ra MODELS <<<"${MODELS:-ZTE-AIM/3B-Curr-ReFT ZTE-AIM/7B-Curr-ReFT}"
OUTPUT=$(realpath -m "${OUTPUT:-$ROOT/outputs/score_release}")
run() {
    if [[ -n $DRY_RUN ]]; then
        printf '%q ' "$@" && echo
    else
        "$@"
    fi
}

cd "$ROOT"
if [[ -z ${DATA_ROOT:-} ]]; then
    DATA_ROOT=$ROOT/grpo_sft_data/grpo_data
    # 1: some row files are not in the source; evaluation names the suites that lack theirs.
    run python -m curr_reft.data.download --output_dir "$ROOT/grpo_sft_data" || (($? == 1)) || exit 2
fi
SCORED=() FAILED=()
for MODEL in "${MODELS[@]}"; do
    NAME=${MODEL##*/}
    FOLDER=$OUTPUT/models/$NAME SCORES=$OUTPUT/scores/$NAME
    if ! run hf download "$MODEL" --local-dir "$FOLDER"; then
        FAILED+=("$MODEL (not fetched)")
        continue
    fi
    run env "DATA_ROOT=$DATA_ROOT" "OUTPUT=$SCORES" bash scripts/evaluate.sh "$FOLDER" \
        --prompts released "${FLAGS[@]}" || FAILED+=("$MODEL (not every suite)")
    if [[ -n $DRY_RUN ]] || compgen -G "$SCORES/**/scores.json" >/dev/null; then
        SCORED+=("$NAME=$SCORES")
    fi
done
if ((${#FAILED[@]})); then
    printf 'error: %s; what was printed above says why\n' "${FAILED[@]}" >&2
fi
if ((${#SCORED[@]})); then
    run python eval/report.py "${SCORED[@]}" --domain all --output_dir "$OUTPUT/report"
fi
exit $((${#FAILED[@]} > 0))
