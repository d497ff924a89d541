#!/usr/bin/env bash
# The three stages of one size in order: scripts/curriculum.sh SIZE [flags of every stage script]
# A finished stage is skipped, an unfinished one goes on from its last resumable checkpoint.
# Environment: see scripts/launch.sh; MODEL is the base model of stage 1.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SIZE=$1
shift
OUTPUT=$(realpath -m "${OUTPUT:-$HERE/../outputs/$SIZE}")
export OUTPUT
BASE=${MODEL:-}
unset MODEL
for STAGE in stage1_judge stage2_choice stage3_open; do
    if grep -qs '"status": "finished"' "$OUTPUT/$STAGE/manifest.json"; then
        echo "$STAGE is finished: $OUTPUT/$STAGE" >&2
        continue
    fi
    if [[ $STAGE == stage1_judge && -n $BASE ]]; then
        MODEL=$BASE bash "$HERE/launch.sh" "$SIZE" "$STAGE" "$@"
    else
        bash "$HERE/launch.sh" "$SIZE" "$STAGE" "$@"
    fi
done
