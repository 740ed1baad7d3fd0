#!/bin/bash
# Tests while train.sh trains, then packs its weights into $OUT, checks and times: README.md.
#     bash finish.sh SECONDS
cd "$(dirname "$0")/../.." || exit
export OUT=${OUT:-$PWD/result} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
mkdir -p "$OUT/logs" && cp models/*.safetensors bitsback/models/
end=$(cat end) device=${DEVICE:-cuda}
# as a client of MPS, if it runs: it shares the card with the training
[ -d mps ] && export CUDA_MPS_PIPE_DIRECTORY=$PWD/mps CUDA_MPS_LOG_DIRECTORY=$PWD/mps
left=$(( end - $(date +%s) - 40 ))
if [ "${TESTS:-yes}" = yes ] && [ $left -gt 60 ]; then
  OUT=$OUT/logs SECONDS_AT_MOST=$left JOBS=6 timeout $left \
    bash benchmarks/device_tests.sh wheels reference/crops > /dev/null 2>&1
fi
nvidia-smi --query-gpu=name,utilization.gpu,memory.used --format=csv
for log in out/*.run.log; do tail -n 3 "$log" | cut -c1-250; done
python3 benchmarks/card/pack.py out "$OUT"  # what there is, in case the machine is taken away
sleep $(( end > $(date +%s) ? end - $(date +%s) : 0 ))
for _ in $(seq 25); do pgrep -f "bitsback train" > /dev/null || break; sleep 1; done
pkill -f "bitsback train"
[ -d mps ] && echo quit | timeout 5 nvidia-cuda-mps-control
unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
python3 benchmarks/card/pack.py out "$OUT"
grep -h bounds out/*.run.log | cut -c1-200
export PYTHONPATH=$PWD
timeout $(( $1 + 5 )) python3 -m benchmarks.device_check image.webp -o check --device "$device" \
  --reference reference --seconds "$1" > "$OUT/logs/check.txt" 2>&1  # errors of its own, too
cp -r out/*.log "$OUT/logs/"
tar cf "$OUT/logs.tar" -C "$OUT" logs && rm -r "$OUT/logs"
tar cf "$OUT/files.tar" check
cut -c1-2500 check/device_check.txt
