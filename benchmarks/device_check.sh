#!/bin/bash
# The whole codec on a GPU, in at most three minutes: benchmarks/device_check.py, report in $OUT.
#     bash benchmarks/device_check.sh [IMAGE [FOLDER OF THE CPU'S FILES [DEVICE]]]
cd "$(dirname "$0")/.." || exit
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
exec timeout -k 5 175 python3 -m benchmarks.device_check "${1:-tests/images/kodim23_crop.png}" \
    -o "${OUT:-/tmp/device_check}" --device "${3:-cuda}" ${2:+--reference "$2"}
