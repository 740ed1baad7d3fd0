"""Puts the weights and logs below a folder into few archives: python pack.py SOURCE OUTPUT."""

import os
import sys
import tarfile
from pathlib import Path

LIMIT = 15 * 2**20  # bytes of an archive


def groups(files: list[Path]) -> list[list[Path]]:
    """The files in as few groups of at most LIMIT bytes as first-fit finds, the largest first."""
    found: list[tuple[int, list[Path]]] = []
    for file in sorted(files, key=lambda path: -path.stat().st_size):
        size = file.stat().st_size
        place = next((k for k, (used, _) in enumerate(found) if used + size <= LIMIT), len(found))
        used, members = found.pop(place) if place < len(found) else (0, [])
        found.insert(place, (used + size, [*members, file]))
    return [members for _, members in found]


def main() -> None:
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    plan = groups(list(source.rglob("*.weights"))) + [list(source.rglob("*.log.jsonl"))]
    for k, files in enumerate(plan):
        part = output / f"part_{k}"
        with tarfile.open(part, "w") as archive:
            for file in files:
                archive.add(file, str(file.relative_to(source)))
        os.replace(part, output / f"weights_{k}.tar")
        print(f"weights_{k}.tar: {', '.join(str(file.relative_to(source)) for file in files)}")


if __name__ == "__main__":
    main()
