"""One table: the same bytes and pixels by versions of torch, instruction sets, threads, devices.

    python -m benchmarks.machines [--torches 2.4.1] [--side 96] [--work FOLDER]
                                  [-o benchmarks/results/machines]

Each configuration is a process that encodes the centre of every sample image with each shipped
model, decodes what the first configuration wrote, and decodes all golden files.  Other versions of
torch get virtual environments (torch_environments.py) in a temporary folder, or --work, which is
kept and used again.  Limits of instruction sets are those of oneDNN, torch and numba.  The exit
status is 1 if anything differs.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import summary, table
from benchmarks.torch_environments import make_environment, python_of, run

ROOT = Path(__file__).resolve().parent.parent
MODELS = "fast", "default", "best"

# Runs inside a configuration: images -> files in a folder; prints JSON of hashes.
WORKER = """
import hashlib, json, sys
from pathlib import Path
numba, threads, device, side, models, images, golden, write, folder = json.loads(sys.argv[1])
if not numba:
    sys.modules["numba"] = None
import numpy as np
import torch
from PIL import Image
from bitsback.codecs import decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.coder.model import Model

torch.set_num_threads(threads)
sha = lambda data: hashlib.sha256(data).hexdigest()
result = {"torch": torch.__version__, "backends": {}, "bytes": {}, "pixels": {}, "golden": {}}
for name in models:
    model = Model.open(name)
    result["backends"][name] = model.chain(device).network.networks[0][1].backend.name
    for path in map(Path, images):
        pixels = np.array(Image.open(path).convert("RGB"))
        top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
        pixels = np.ascontiguousarray(pixels[top:top + side, left:left + side])
        entry = container.Entry(pixels.shape[1], pixels.shape[0])
        header = container.Header((entry,), container.pixel_digest([pixels]))
        data = container.write(*prior_codec.encode_stack([pixels], header, model, device))
        key, target = f"{name} {path.stem}", Path(folder) / f"{name}-{path.stem}.bbk"
        result["bytes"][key] = sha(data)
        if write:
            target.write_bytes(data)
        decoded = decoder.decode(target.read_bytes(), model=model, device=device)
        result["pixels"][key] = bool((decoded == pixels).all())
for path in map(Path, golden):
    _, decoded = decoder.decode_images(path.read_bytes(), device=device)
    result["golden"][str(path)] = [sha(image.samples.tobytes()) for image in decoded]
print(json.dumps(result))
"""


@dataclass(frozen=True)
class Configuration:
    """One way to run the program; torch: a version, or "" for the one that runs this."""

    name: str
    torch: str = ""
    threads: int = 1
    numba: bool = True
    device: str = "cpu"
    environment: dict[str, str] = field(default_factory=dict)


def limited(onednn: str, aten: str) -> dict[str, str]:
    """Environment variables that limit the instruction sets of oneDNN and of torch's own loops."""
    return {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": aten}


def configurations(torches: list[str]) -> list[Configuration]:
    """All that can be run here; a GPU where there is one."""
    found = [
        Configuration("as it is"),
        Configuration("two threads", threads=2),
        Configuration("AVX-512 without VNNI", environment=limited("AVX512_CORE", "avx512")),
        Configuration("AVX2", environment=limited("AVX2", "avx2")),
        Configuration(
            "SSE4.1, numba's generic x86-64",
            environment=limited("SSE41", "default")
            | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""},
        ),
        Configuration("without numba", numba=False),
        *(Configuration("as it is", torch=version) for version in torches),
        *(
            Configuration("SSE4.1, without numba", version, 1, False, "cpu", limited("SSE41", ""))
            for version in torches
        ),
    ]
    import torch

    if torch.cuda.is_available():
        found.append(Configuration(torch.cuda.get_device_name(), device="cuda"))
    return found


def measured(one: Configuration, work: Path, images: list[Path], side: int, first: bool) -> Any:
    """What WORKER prints in a configuration, and "seconds"."""
    python = Path(sys.executable)
    if one.torch:
        folder = work / f"torch-{one.torch}"
        python = python_of(folder)
        python = python if python.exists() else make_environment(folder, one.torch)
    golden = sorted((ROOT / "tests" / "golden").rglob("*.bbk"))
    facts = one.numba, one.threads, one.device, side, MODELS
    paths = [str(path) for path in images], [str(path.relative_to(ROOT)) for path in golden]
    arguments = json.dumps([*facts, *paths, first, str(work)])
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | one.environment
    begin = time.perf_counter()
    output = run(python, "-c", WORKER, arguments, cwd=ROOT, env=environment)
    return json.loads(output.splitlines()[-1]) | {"seconds": time.perf_counter() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--torches", default="2.4.1", help="other versions, by commas")
    parser.add_argument("--side", type=int, default=96, help="centre of each image that is coded")
    parser.add_argument("--work", type=Path, help="a folder for environments and files, kept")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    images = sorted((ROOT / "tests" / "images").glob("*_crop.png"))
    rows, wrong, expected = [], 0, None
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        for one in configurations([v for v in args.torches.split(",") if v]):
            found = measured(one, work, images, args.side, expected is None)
            expected = expected or found
            same = found["bytes"] == expected["bytes"], all(found["pixels"].values())
            same += (found["golden"] == expected["golden"],)
            wrong += not all(same)
            backends = ", ".join(dict.fromkeys(found["backends"].values()))
            told = ["yes" if yes else "NO" for yes in same]
            rows.append([found["torch"], one.name, backends, *told, f"{found['seconds']:.0f}"])
            print(*rows[-1], flush=True)
    from bitsback.coder.model import Model

    ids = ", ".join(f"{name} {Model.open(name).id[:16]}" for name in MODELS)
    assert expected
    text = (
        f"python -m benchmarks.machines --torches {args.torches} --side {args.side}   "
        f"(models {ids}; {len(expected['bytes'])} files of {len(images)} images, "
        f"{len(expected['golden'])} golden files)\n\n"
    )
    head = ["torch", "configuration", "convolutions", "same bytes", "first's files decode"]
    text += table(head + ["golden files decode alike", "s"], rows)
    if args.output:
        args.output.with_suffix(".md").write_text(text)
    print(text)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
