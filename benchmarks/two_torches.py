"""Files encoded with one version of torch and decoded with another.

    python -m benchmarks.two_torches [--old 2.4.1] [--new 2.13.0] [--images tests/images]
                                     [--model PATH]

Makes a virtual environment for each version in a temporary folder, encodes the images (their
centres, --side pixels) in each with the backend that is chosen there and with the reference,
decodes every file in the other one, compares bytes and pixels, and prints a table.  The exit status
is 1 if anything differs.

torch is installed without its dependencies, so that no gigabytes of CUDA packages are fetched.
Builds that are linked to CUDA get stand-ins for those libraries, compiled here (with gcc and
readelf), whose functions all return "no device".  Only CPU code is run.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import summary

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [
    "filelock",
    "typing_extensions",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "MarkupSafe",
    "fsspec",
    "numpy<2.3",  # torch's
    "constriction==0.5.0",
    "pillow",
    "click",
    "safetensors",
    "tqdm",
]

# Runs inside an environment.  encode: images -> files; decode: files -> hashes.  Prints JSON.
WORKER = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from bitsback.codecs import decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.integer.convolution import Reference
from bitsback.integer.selftest import choose
from bitsback.coder.model import Model

action, model, side, folder, *paths = sys.argv[1:]
torch.set_num_threads(1)
model = Model.open(model or None)
chosen = choose(model.layers)
result = {"torch": torch.__version__, "backend": chosen.name, "files": {}}

def encode(pixels, backend):
    model.chain = lambda device: Model.chain(model, device, backend)
    entry = container.Entry(pixels.shape[1], pixels.shape[0])
    header = container.Header((entry,), container.pixel_digest([pixels]))
    return container.write(*prior_codec.encode_stack([pixels], header, model))

for path in map(Path, paths):
    begin = time.perf_counter()
    if action == "encode":
        pixels = np.array(Image.open(path).convert("RGB"))
        top, left = (max(0, (length - int(side)) // 2) for length in pixels.shape[:2])
        pixels = np.ascontiguousarray(pixels[top:top + int(side), left:left + int(side)])
        data = encode(pixels, chosen)
        (Path(folder) / (path.stem + ".bbk")).write_bytes(data)
    else:
        data, pixels = path.read_bytes(), None
        try:
            pixels = decoder.decode(data, model=model)
        except Exception as error:
            result["files"][path.stem] = {"error": str(error)}
            continue
    result["files"][path.stem] = {
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "size": len(data),
        "data": hashlib.sha256(data).hexdigest(),
        "seconds": time.perf_counter() - begin,
        "reference": action == "decode" or encode(pixels, Reference(model.layers)) == data,
    }
print(json.dumps(result))
"""


def run(*command: object, **options: Any) -> str:
    """The standard output of a command, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:6]))}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def python_of(folder: Path) -> Path:
    """The python of a virtual environment."""
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def make_environment(folder: Path, version: str) -> Path:
    """Makes a virtual environment with this torch; returns its python."""
    run(sys.executable, "-m", "venv", folder)
    python = python_of(folder)
    run(python, "-m", "pip", "install", "-q", "--no-deps", f"torch=={version}", *PACKAGES)
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        code = "import importlib.util as u; s = u.find_spec('torch').submodule_search_locations[0]"
        stand_in_for_cuda(Path(run(python, "-c", f"{code}; print(s)").strip()) / "lib")
        run(python, "-c", "import torch")
    return python


def stand_in_for_cuda(folder: Path) -> None:
    """Compiles a stand-in for each CUDA library that those in `folder` need and that is missing."""
    owners: dict[str, list[str]] = {}
    symbols: dict[str, set[str]] = {}
    needed: set[str] = set()
    for path in folder.glob("*.so*"):
        needed |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", path)))
        for name, version in re.findall(
            r" UND ([\w.]+)(?:@(\S+))?", run("readelf", "-Ws", "--dyn-syms", path)
        ):
            symbols.setdefault(version, set()).add(name)
    for library in sorted(needed - {path.name for path in folder.iterdir()}):
        prefix = re.sub(r"^lib([a-z]+).*", r"\1", library)
        if re.match(r"lib(cu|nv|nccl)", library):
            unversioned = {name for name in symbols.get("", ()) if name.startswith(prefix)}
            owners[library] = sorted(symbols.get(library, set()) | unversioned)
    for library, names in owners.items():
        with tempfile.TemporaryDirectory() as work:
            source, script = Path(work) / "stub.c", Path(work) / "stub.map"
            source.write_text(
                "".join(f"long {name}(void) {{ return 100; }}\n" for name in names) or "int none;\n"
            )  # 100: cudaErrorNoDevice
            script.write_text(f"{library} {{ global: *; }};\n")
            run(
                "gcc",
                "-shared",
                "-fPIC",
                "-w",
                "-fno-builtin",
                f"-Wl,-soname,{library}",
                f"-Wl,--version-script={script}",
                "-o",
                folder / library,
                source,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--old", default="2.4.1")
    parser.add_argument("--new", default="2.13.0")
    parser.add_argument("--images", type=Path, default=ROOT / "tests" / "images")
    parser.add_argument("--side", type=int, default=128, help="centre of each image that is coded")
    parser.add_argument("--model", default="", help="a model's path (default: the shipped one)")
    parser.add_argument(
        "--work",
        type=Path,
        help="keep the environments and files in this folder, and use those that are there",
    )
    options = parser.parse_args()
    images = sorted(
        path.resolve()
        for path in options.images.iterdir()
        if path.suffix.lower() in (".png", ".webp")
    )
    model = Path(options.model).resolve() if Path(options.model).is_file() else options.model
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        pythons: dict[str, Path] = {}
        files: dict[str, Path] = {}
        encoded: dict[str, Any] = {}
        decoded: dict[str, Any] = {}
        for version in (options.old, options.new):
            folder = work / f"torch-{version}"
            python = python_of(folder)
            pythons[version] = python if python.exists() else make_environment(folder, version)
            files[version] = work / f"files-{version}"
            files[version].mkdir(exist_ok=True)

        def work_in(version: str, action: str, folder: Path, paths: list[Path]) -> Any:
            output = run(
                pythons[version],
                "-c",
                WORKER,
                action,
                model,
                options.side,
                folder,
                *paths,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            return json.loads(output.splitlines()[-1])

        for version in pythons:
            encoded[version] = work_in(version, "encode", files[version], images)
        for version, other in ((options.old, options.new), (options.new, options.old)):
            decoded[other] = work_in(
                other, "decode", files[version], sorted(files[version].glob("*.bbk"))
            )
    print(
        "| image | encoded by | decoded by | bytes "
        "| same bytes from both, and from the reference | same pixels |\n|---|---|---|---|---|---|"
    )
    wrong = 0
    for version, other in ((options.old, options.new), (options.new, options.old)):
        for name, facts in encoded[version]["files"].items():
            same_bytes = (
                facts["data"] == encoded[other]["files"][name]["data"] and facts["reference"]
            )
            same_pixels = facts["pixels"] == decoded[other]["files"][name].get("pixels")
            wrong += not same_bytes or not same_pixels
            encoder, decoder = (
                f"torch {one['torch']}, {one['backend']}"
                for one in (encoded[version], decoded[other])
            )
            error = decoded[other]["files"][name].get("error", "")
            print(
                f"| {name} | {encoder} | {decoder} | {facts['size']} "
                f"| {'yes' if same_bytes else 'NO'} | {'yes' if same_pixels else 'NO ' + error} |"
            )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
