#!/bin/bash
# Puts what a run on a card needs into .carry/1 to 3, and empties the tree's model files: README.md.
#     bash benchmarks/card/prepare.sh DATA WHEELS IMAGE RECIPE...
# DATA: the folder of the recipes' sources; REFERENCE=FOLDER: files of IMAGE by a CPU from an earlier
# call, with its crops, which are else made here in minutes.
set -e
cd "$(dirname "$0")/../.."
data=$(realpath "$1") wheels=$(realpath "$2") image=$(realpath "$3")
shift 3
export PYTHONPATH=$PWD
steps=code:default:256,code:default:768,code:default:1581,code:fast:1581
if [ -z "$REFERENCE" ]; then
  REFERENCE=$(mktemp -d)
  python3 -m benchmarks.device_check "$image" -o "$REFERENCE" --device cpu --seconds 600 --steps $steps
  python3 -m tests.crops "$REFERENCE/crops"
fi
rm -rf .carry/1 .carry/2 .carry/3
mkdir -p .carry/1/data .carry/2/data .carry/2/start .carry/3/models .carry/3/wheels
python3 -m benchmarks.card.start .carry/2/start "$@"
cp -r "$data/train" .carry/1/data/
mkdir .carry/2/data/train2 && cp "$data"/train2/*.webp .carry/2/data/train2/
cp bitsback/models/default.safetensors bitsback/models/fast.safetensors .carry/3/models/
cp -r "$REFERENCE" .carry/3/reference && cp "$image" .carry/3/image.webp
cp "$wheels"/*.whl .carry/3/wheels/
chmod -R u+w .carry
for file in bitsback/models/*.safetensors benchmarks/checkpoints/*.{ckpt,weights}; do : > "$file"; done
find . -name __pycache__ -prune -exec rm -rf {} +
du -sb .carry/*
git ls-files -z | xargs -0 du -cb | tail -1
