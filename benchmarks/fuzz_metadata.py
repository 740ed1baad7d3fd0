"""Well-formed files for benchmarks/fuzz.py with hostile metadata and names."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.fuzz_cases import Case, fallback_file, image_of, sealed
from bitsback.codecs import checksums
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import number, pixel_digest
from bitsback.codecs.fallback.codec import encode_fallback
from bitsback.codecs.formats import chunks, metadata

HOSTILE_NAMES = (
    "..",
    ".",
    "./.",
    "/etc/x",
    "a/../../x.png",
    "a\\x.png",
    "C:x.png",
    "",
    "x\0.png",
    "x" * 5000,
    "\x1b[2Jx\nbitsback: all is well.png",
    "\ud800.png",
    "a/",
    "//",
)


def odd_metadata(rng: np.random.Generator, count: int) -> Iterator[Case]:
    """Nonsense in every item of look and metadata, with correct digests.

    Every writer must write it or refuse it.
    """
    odd = [float("nan"), float("inf"), -1.0, 0.0, 1e300, 5e-324]
    for _ in range(count):
        mode = str(
            rng.choice(["RGB", "P", "L", "1", "I;16", "RGBA", "CMYK", "F", "I", "RGB;16", "LA"])
        )

        def pick() -> float:
            return odd[int(rng.integers(0, len(odd)))]

        def noise() -> bytes:
            return rng.bytes(int(rng.integers(0, 60)))

        def word() -> str:
            return "".join(map(chr, rng.integers(0, 0x2000, int(rng.integers(0, 90)))))

        items: dict[str, Any] = {
            "palette": noise(),
            "palette_alpha": noise(),
            "icc": noise(),
            "xmp": noise(),
            "dpi": (pick(), pick()),
            "transparency": [noise(), 2**16, (1, 2**16, 3), (1, 2)][int(rng.integers(0, 4))],
            "exif": [noise(), b"Exif\0\0" + noise(), b"Exif\0\0II*\0\x08\0\0\0" + noise()][
                int(rng.integers(0, 3))
            ],
            "gamma": pick(),
            "chromaticity": tuple(pick() for _ in range(8)),
            "srgb": int(rng.integers(0, 256)),
            "text": (
                (word(), word(), word(), word(), bool(rng.integers(0, 2))),
                ("Comment", "x" * 2000, "", "", False),
            ),
            "png": tuple(
                (chunks.KNOWN[1 + int(rng.integers(0, 26))], place, noise())
                for place in (0, 0, 1, 2)
            ),
            "tiff": tuple(
                (270 + i, int(rng.integers(1, 3)), noise()) for i in range(9) if i not in (3, 7, 8)
            )
            + ((34665, 0, ()),),
        }
        items["png"] = tuple(entry for entry in items["png"] if entry[0] != b"IHDR")
        chosen = {key: value for key, value in items.items() if rng.random() < 0.3}
        if mode == "P":
            chosen["palette"] = bytes(range(60)) if rng.random() < 0.7 else noise()
        image = replace(
            image_of(mode, 3, 4, rng),
            look={k: v for k, v in chosen.items() if k in metadata.LOOK},
            metadata={k: v for k, v in chosen.items() if k not in metadata.LOOK},
        )
        packed = metadata.pack([image])
        yield Case(
            "odd metadata, right digest",
            mode,
            fallback_file([image], packed, metadata=metadata.kinds([(image.look, image.metadata)])),
        )


def odd_names() -> Iterator[Case]:
    """Archives with names that would leave the folder, forge messages or cannot be written."""
    pixels = np.zeros((1, 1, 3), np.uint8)
    digest, part = pixel_digest([pixels]), encode_fallback(pixels)
    for name in HOSTILE_NAMES:
        rows = [[name, 1, 1, 0o644, 0, 0]]
        index = zlib.compress(json.dumps(rows).encode(), 9) + checksums.image_check(
            pixels
        ).to_bytes(2, "little")
        head = (
            container.MAGIC
            + bytes([container.VERSION, container.ARCHIVE])
            + number(len(index))
            + number(1)
        )
        yield Case("odd name, right digest", ascii(name[:40]), sealed(head + index + digest + part))
