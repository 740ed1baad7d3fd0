#!/bin/bash
# Trains the recipes of prepare.sh in the background until SECONDS from now: README.md.
#     bash train.sh SECONDS
# A server of CUDA's MPS lets the kernels of several processes run at the same time; none is started
# where it does not work, or with MPS=no.
cd "$(dirname "$0")/../.." || exit
export PYTHONPATH=$PWD OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
end=$(( $(date +%s) + $1 ))
echo $end > end
mkdir -p out
if [ "${MPS:-yes}" = yes ] && which nvidia-cuda-mps-control > /dev/null; then
  export CUDA_MPS_PIPE_DIRECTORY=$PWD/mps CUDA_MPS_LOG_DIRECTORY=$PWD/mps
  mkdir -p mps && nvidia-cuda-mps-control -d
  if timeout 15 python3 -c 'import torch; assert torch.ones(9).cuda().sum() == 9'; then
    echo "MPS runs"
  else
    echo "MPS does not work" && echo quit | timeout 5 nvidia-cuda-mps-control
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY && rm -r mps
  fi
fi
for weights in start/*.weights; do
  name=$(basename "$weights" .weights)
  setsid nohup python3 -m bitsback train "${RECIPE_FOLDER:-benchmarks/recipes}/$name.toml" \
    --data data -o "out/$name" --resume "$weights" --device "${DEVICE:-cuda}" \
    --until $end > "out/$name.run.log" 2>&1 < /dev/null &
done
ls data/train data/train2 | wc -l
