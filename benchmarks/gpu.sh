#!/usr/bin/env bash
# Everything that needs a GPU, in at most eight minutes: tests of captured steps, extractions and drawing on random
# weights in the shapes of Stable Diffusion. Downloads nothing. Usage: bash benchmarks/gpu.sh [REPORT.md]
# TINY=1 rehearses it anywhere, on tiny shapes. PYTHON names the interpreter.
set -u
cd "$(dirname "$0")/.."
report=${1:-runs/gpu.md}
mkdir -p "$(dirname "$report")"
: >"$report"
TINY=${TINY:-}
suffix=${TINY:+-tiny}
reference=10
[ -z "$TINY" ] || reference=2
export BREAKASCENE_CACHE=${BREAKASCENE_CACHE:-$(mktemp -d)} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
python=${PYTHON:-.venv/bin/python}
failed=0

stage() { # SECONDS TITLE COMMAND…
  local seconds=$1 title=$2 code
  shift 2
  [ -z "$TINY" ] || seconds=$((4 * seconds)) # a busy CPU
  echo "== $title (at most $seconds s)"
  { echo "### $title" && echo; } >>"$report"
  timeout "$seconds" "$@" | tee -a "$report"
  code=${PIPESTATUS[0]}
  echo >>"$report"
  if [ "$code" != 0 ]; then
    echo "$title: exit status $code" | tee -a "$report"
    failed=1
  fi
}

stage 90 "Captured steps" "$python" -m pytest -q -rs -p no:cacheprovider \
  tests/training/test_step.py tests/models/test_graphs.py -k "captured or capture or cuda"
stage 140 "Extraction, SD 2.1" "$python" -m benchmarks.extraction --base "sd21$suffix" ${TINY:+--steps 2} --reference "$reference"
stage 60 "Extraction, SD 2.1, lean" "$python" -m benchmarks.extraction --base "sd21$suffix" --preset quick --memory lean ${TINY:+--steps 2}
stage 100 "Extraction, SDXL" "$python" -m benchmarks.extraction --base "sdxl$suffix" --preset quick ${TINY:+--steps 2}
stage 40 "Clicks, SAM" "$python" -m benchmarks.segmentation ${TINY:+--model toybox --clicks 2}
stage 40 "Drawing, SD 2.1" "$python" -m benchmarks.drawing --base "sd21$suffix" ${TINY:+--steps 2}
stage 50 "Drawing, SDXL" "$python" -m benchmarks.drawing --base "sdxl$suffix" ${TINY:+--steps 2}
echo "The report is in $report."
exit $failed
