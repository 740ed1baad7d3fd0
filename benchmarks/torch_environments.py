"""Virtual environments with other versions of torch, for machines.py.

torch is installed without its dependencies, so that no gigabytes of CUDA packages are fetched.
Builds that are linked to CUDA get stand-ins for those libraries, compiled here (with gcc and
readelf), whose functions all return "no device".  Only CPU code is run.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
    "numba",
    "llvmlite",
    "imagecodecs",
    "pillow",
    "click",
    "safetensors",
    "tqdm",
]


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
