#!/usr/bin/env bash
# The gate from end to end: train two checkpoints, bless the full one, pass its re-seed, catch the early one.
#     examples/ci/run.sh [WORK]        about two minutes on one core; WORK is kept, so that a second run takes seconds
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export DIGITS_WORK=${1:-$here/work} OMP_NUM_THREADS=1
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python "$here/digits.py" "$DIGITS_WORK"
cd "$DIGITS_WORK"
options=(--baseline baseline.json --weights models/digits-extractor.safetensors --no-cache)

expect() { # CODE COMMAND…
  local wanted=$1 code=0
  shift
  printf '\n$ %s\n' "$*"
  "$@" || code=$?
  if [ "$code" != "$wanted" ]; then
    echo "exit code $code, expected $wanted" >&2
    exit 1
  fi
}

expect 0 paragone check "${options[@]}" --bless --generator digits:full --prompts "$here/prompts.csv" \
  --features digits --reference reference --training training --look 0-49 --look 50-99 --look 100-199
expect 0 paragone check "${options[@]}" --generator digits:reseeded
expect 1 paragone check "${options[@]}" --generator digits:early --extend \
  --html early.html --baseline-images check-samples/full
expect 0 paragone plan baseline.json --seconds 0.001
printf '\nthe re-seed went through, the early checkpoint was caught; its report: %s/early.html\n' "$DIGITS_WORK"
