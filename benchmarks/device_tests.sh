#!/bin/bash
# `pytest -m cuda` on a machine with a card and few packages: python3 with torch, Triton, numpy,
# Pillow, click, tqdm and safetensors.
#     bash benchmarks/device_tests.sh WHEELS [FOLDER OF `python -m tests.crops`]
# WHEELS: a folder with wheels of pytest, pluggy, iniconfig, packaging, pygments, pytest-xdist,
# execnet, pytest-timeout, hypothesis, sortedcontainers and constriction for that Python (3.5 MB).
# Without numba a CPU codes slowly: its files of the crops are best made elsewhere.
cd "$(dirname "$0")/.." || exit
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
for wheel in "$1"/*.whl; do python3 -m zipfile -e "$wheel" "$where"; done
export PYTHONPATH=$PWD:$where OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
[ -z "$2" ] || export BITSBACK_CROPS=$(realpath "$2")
# those alone: others import packages that such a machine lacks
mapfile -t files < <(grep -lE "\b(codec_)?device\)|[(]device\b|on_cuda|mark\.cuda" tests/test_*.py)
timeout -k 5 "${SECONDS_AT_MOST:-200}" python3 -m pytest -o addopts= -q -m cuda -n "${JOBS:-8}" \
    --dist worksteal --durations=20 -rfE "${files[@]}" 2>&1 | tee "${OUT:-$where}/device_tests.txt"
exit "${PIPESTATUS[0]}"
