"""Rates of "full size" images by whether the networks have seen other crops of their photographs.

    python -m benchmarks.unseen DATA RATES.json...

Every 14th file of TRAIN2 is held out, but a photograph may have several crops in TRAIN2, and a
reduced one in TRAIN.  DATA has both sets with their SOURCES.tsv, which name the photograph of each
crop; a RATES.json is what benchmarks.rate wrote of the held-out files.
"""

import argparse
import csv
import json
import sys
from pathlib import Path, PurePosixPath

from benchmarks.held_out import EVERY
from benchmarks.report import summary, table

REFERENCE = "JPEG XL e9"


def photographs(path: Path, column: str, folder: str = "") -> dict[str, str]:
    """{name of a crop: name of its photograph} of the crops below `folder` in a SOURCES.tsv."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t")]
    return {
        PurePosixPath(row["file"]).name: PurePosixPath(row[column]).name.lower()
        for row in rows
        if row["file"].startswith(folder)
    }


def seen(data: Path) -> set[str]:
    """Names of the held-out crops of TRAIN2 of whose photographs another crop was trained on."""
    of_train = photographs(data / "SOURCES.tsv", "path in source", "train/")
    of_train2 = photographs(data / "train2" / "SOURCES.tsv", "path in repository")
    trained = {
        photograph
        for crops in (of_train, of_train2)
        for i, (_, photograph) in enumerate(sorted(crops.items()))
        if i % EVERY
    }
    return {crop for crop in sorted(of_train2)[::EVERY] if of_train2[crop] in trained}


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("data", type=Path)
    parser.add_argument("rates", type=Path, nargs="+")
    args = parser.parse_args()
    known, lines = seen(args.data), []
    for path in args.rates:
        found = json.loads(path.read_text())
        for name, wanted in (("another was trained on", True), ("none was", False)):
            rows = [row for row in found["rows"] if (Path(row["file"]).name in known) == wanted]
            dims = sum(row["dims"] for row in rows)
            ours, theirs = (sum(r[k]["bytes"] for r in rows) for k in ("bitsback", REFERENCE))
            shares = 8 * ours / dims, 8 * theirs / dims, ours / theirs
            lines.append([found["model"][:16], name, len(rows), *(f"{x:.3f}" for x in shares)])
    head = ["model", "other crops of the photograph", "images", "bits/dim", REFERENCE, "ratio"]
    print(f"python -m benchmarks.unseen {' '.join(sys.argv[1:])}\n")
    print(table(head, lines), end="")


if __name__ == "__main__":
    main()
