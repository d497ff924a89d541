#!/usr/bin/env bash
# The stages of one size in order: scripts/curriculum.sh SIZE [flags of every stage script]
# A finished stage is skipped; an unfinished one goes on from its newest whole checkpoint, or begins again without
# one. With --dry_run a stage whose predecessor has not run plans with the base.
# Environment: see scripts/launch.sh; MODEL is the base model of stage 1.
set -euo pipefail
# What is started here ends when this script has been ended.
export CURR_REFT_OWNERS="${CURR_REFT_OWNERS:-} $$"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if (($# < 1)); then
    echo "usage: scripts/curriculum.sh SIZE [flags]" >&2
    exit 2
fi
SIZE=$1
shift
OUTPUT=$(realpath -m "${OUTPUT:-$HERE/../outputs/$SIZE}")
export OUTPUT
if [[ -x $HERE/../.venv/bin/python && -z ${VIRTUAL_ENV:-} ]]; then
    PATH=$(realpath "$HERE/../.venv/bin"):$PATH
fi
STAGES=$(python -m curr_reft.stages)
BASE=${MODEL:-$(sed -n 's/^model_name_or_path: *//p' "$HERE/../configs/$SIZE/$(head -n 1 <<<"$STAGES").yaml")}
unset MODEL
PREVIOUS=
for STAGE in $STAGES; do
    if grep -qs '"status": "finished"' "$OUTPUT/$STAGE/manifest.json"; then
        echo "$STAGE is finished: $OUTPUT/$STAGE" >&2
        PREVIOUS=$STAGE
        continue
    fi
    FROM=$OUTPUT/$PREVIOUS
    if [[ -z $PREVIOUS || (" $* " == *" --dry_run "* && ! -d $FROM) ]]; then
        FROM=$BASE
    fi
    MODEL=$FROM bash "$HERE/launch.sh" "$SIZE" "$STAGE" "$@"
    PREVIOUS=$STAGE
done
