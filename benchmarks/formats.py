"""The result for every file in a folder: kept whole, or refused with a reason.

    python -m benchmarks.formats DIR [-o benchmarks/results/formats.md]

Each image is stored by the fallback codec (what is kept does not depend on the codec), decoded and
compared, then written in the format that decompress chooses, read again and compared.
tests/test_formats.py uses the same function.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
import PIL

from benchmarks.report import summary
from bitsback.codecs import decode_image, encode_image, mode_decision
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.image import same
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import UnsupportedImage

NOT_IMAGES = {".txt", ".license", ".md", ".tsv"}
COMMON_REASONS = (
    "not an image that Pillow can read",
    "damaged image",
    "compressed with loss",
    "an animation",
    "several pages",
    "an icon of",
    "exceeds limit of",
    "more than 8 bits a sample",
)


def files_of(folder: str | Path) -> list[Path]:
    """All files below a folder except texts about them."""
    return sorted(
        path
        for path in Path(folder).rglob("*")
        if path.is_file() and path.suffix.lower() not in NOT_IMAGES
    )


def fate(path: Path, name: str | Path, allow_lossy: bool = False) -> tuple[str, str, int]:
    """(mode, result, bytes) of one file: ("RGB", "kept", 123) or ("", reason, 0).

    Kept: mode, samples, palette, transparency and metadata came back from the .bbk, and mode, look
    and samples from the image file written of it, of a TIFF a TIFF.  The result names what else the
    file had.  Errors: AssertionError where neither happened.
    """
    try:
        image = read_image(path, name, allow_lossy=allow_lossy)
    except UnsupportedImage as error:
        return "", str(error).replace(f"{name}: ", "", 1), 0
    with patch.object(mode_decision, "prior_possible", lambda image: False):
        data = encode_image(image)
    assert same(decode_image(data), image), f"{name}: something else came back"
    suffix, written, left_out = default_bytes(image, name)
    assert written and (not left_out or suffix == ".tiff" or image.source == "TIFF"), (
        f"{name}: {left_out} would be lost in {suffix}"
    )
    what = f"kept but for {', '.join(image.lost)}" if image.lost else "kept"
    return (
        image.mode,
        what if not left_out else f"{what}; {suffix} does not hold {', '.join(left_out)}",
        len(data),
    )


def fates_table(rows: list[tuple[str, str, str]]) -> str:
    """Markdown of (folder, mode, result) of all files, equal ones counted."""
    lines = ["| folder | mode | result | files |", "|---|---|---|---|"]
    counts: dict[tuple[str, str, str], int] = {}
    for row in rows:
        counts[row] = counts.get(row, 0) + 1
    lines += [
        f"| {folder} | {mode} | {what} | {count} |"
        for (folder, mode, what), count in sorted(counts.items(), key=lambda item: item[0])
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/formats.md"))
    args = parser.parse_args()
    rows, before, after = [], 0, 0
    for path in files_of(args.folder):
        name = path.relative_to(args.folder)
        mode, what, size = fate(path, name)
        short = next((reason for reason in COMMON_REASONS if reason in what), what).replace(
            "|", "\\|"
        )
        rows.append((name.parts[0], mode or "refused", short))
        before, after = before + path.stat().st_size * bool(mode), after + size
    kept = sum(mode != "refused" for _, mode, _ in rows)
    text = (
        f"python -m benchmarks.formats {args.folder.name}   (no model; {len(rows)} files, "
        f"{kept} kept, {len(rows) - kept} refused, Pillow {PIL.__version__}, "
        f"numpy {np.__version__}; the kept ones: {before} bytes as found, "
        f"{after} as .bbk by fallback codec alone)\n\n{fates_table(rows)}\n"
    )
    print(text)
    args.output.write_text(text)


if __name__ == "__main__":
    main()
