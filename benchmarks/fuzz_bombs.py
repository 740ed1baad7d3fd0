"""Small files for benchmarks/fuzz.py that claim, or unpack to, huge sizes."""

import lzma
import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.fuzz_cases import Case, fallback_file, sealed
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, number
from bitsback.codecs.fallback import jxl
from bitsback.codecs.fallback.codec import DIFFERENCES, JXL, PNG, WEBP
from bitsback.codecs.fallback.differences import FILTERS, LZMA
from bitsback.codecs.image import ImageData

# Frame of a JPEG XL that is not shown, modular, of (2^30 + 18687)^2 pixels: 12 bits, then two
# numbers of 2 and 30 bits, low bits first.
ATLAS = (2 << 1 | 1 << 3 | 1 << 11 | (2**64 - 1) << 12).to_bytes(10, "little") + bytes(30)


def lying_sizes(model_id: str) -> Iterator[Case]:
    """Small files that claim huge sizes, for each codec; one of ten bytes claims 2^31 x 2^31."""
    most = number(2**31)
    yield Case(
        "lying size", "ten bytes", (container.MAGIC + bytes([container.VERSION, 0, 0]) + most)[:10]
    )
    yield Case(
        "lying size",
        "2^31 x 2^31, right CRC",
        sealed(container.MAGIC + bytes([container.VERSION, 0, 0]) + most + most),
    )
    for width, height in ((2**24, 2**7), (46340, 46340), (16383, 16383), (9000, 9000)):
        for mode in ("RGB", "L", "RGBA;16", "F"):
            for payload in (
                b"",
                bytes([DIFFERENCES, LZMA]),
                bytes([DIFFERENCES, 0]) + zlib.compress(bytes(99)),
                bytes([PNG]) + zlib.compress(bytes(99)),
                bytes([JXL]) + jxl.encode_jxl(np.zeros((8, 8), np.uint8), jxl.USUAL),
                bytes([JXL]) + ATLAS,
                bytes([WEBP, 0x2F])
                + (width - 1 & 0x3FFF | (height - 1 & 0x3FFF) << 14).to_bytes(4, "little")
                + bytes(9),
            ):
                yield Case(
                    "lying size",
                    f"{mode} {width}x{height}",
                    container.write(Header((Entry(width, height, mode=mode),), bytes(4)), payload),
                )
        for scale in (0, 64, 112):
            rows = max(1, 2**21 // width // 8 * 8)
            down = ((1, rows),) * (height // rows) + ((1, height % rows),) * bool(height % rows)
            header = Header(
                (Entry(width, height),),
                bytes(8),
                model=model_id[:16],
                segments=down,
                top=(0, scale) * 3,
            )
            for size in (2, 5000):
                yield Case(
                    "lying size",
                    f"stack {width}x{height}",
                    container.write(header, bytes(range(1, 5)) * size),
                )
    header = Header(tuple(Entry(1, 1, f"{i}") for i in range(3)), bytes(8), archive=True)
    yield Case(
        "lying size",
        "archive",
        container.write(header, b"").replace(number(3) + b"x\xda", number(2**24) + b"x\xda"),
    )


def deflate_bomb(piece: bytes, count: int) -> bytes:
    """zlib bytes that unpack to `count` times `piece`: one flushed block, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"x\xda" + block * count + packer.flush()


def lzma_bomb(piece: bytes, count: int) -> bytes:
    """Raw LZMA2 that unpacks to `count` times `piece`: independent chunks, repeated."""
    return lzma.compress(piece, lzma.FORMAT_RAW, filters=FILTERS)[:-1] * count + b"\0"


def bombs(mebibytes: int) -> Iterator[Case]:
    """Small metadata, samples and indices that unpack to `mebibytes` MiB and more."""
    zeros, image = bytes(2**20), ImageData("RGB", np.zeros((2, 2, 3), np.uint8))
    for name, packed in (
        ("deflate", b"\1" + deflate_bomb(zeros, mebibytes)),
        ("LZMA", b"\2" + lzma_bomb(zeros, mebibytes)),
        (
            "empty texts",
            b"\1"
            + zlib.compress(b"\1\x0a" + number(5 * 2**20) + number(2**20) + bytes(5 * 2**20 - 3)),
        ),
        ("colours", b"\1" + zlib.compress(b"\1\2" + number(2**23 + 1) + b"\1" + bytes(2**23))),
    ):
        yield Case("bomb", f"metadata, {name}", fallback_file([image], packed, metadata=2**10 - 1))
    for name, body in (
        ("deflate", bytes([DIFFERENCES, 0]) + deflate_bomb(zeros, mebibytes)),
        ("LZMA", bytes([DIFFERENCES, LZMA]) + lzma_bomb(zeros, mebibytes)),
        ("PNG", bytes([PNG]) + deflate_bomb(zeros, mebibytes)),
        ("JPEG XL", bytes([JXL]) + ATLAS),
    ):
        yield Case("bomb", f"samples, {name}", fallback_file([image], payload=body))
    for piece, opening in (
        (b"[],", b"["),
        (b"[" * 9, b""),
        (b" " * 9, b"["),
        (b"1" * 9, b"["),
        ('"\U0001f600",'.encode(), b"["),
        (b'["",1,1,0,0,0],', b"["),
    ):
        pieces = 2**20 // len(piece)
        index = (
            deflate_bomb(piece * pieces, mebibytes)
            if not opening
            else _index_bomb(opening, piece * pieces, mebibytes)
        )
        checks = bytes(2 * 40000)
        head = (
            container.MAGIC
            + bytes([container.VERSION, container.ARCHIVE])
            + number(len(index + checks))
            + number(40000)
        )
        yield Case(
            "bomb", f"index, {piece[:9].decode()}", sealed(head + index + checks + bytes(99))
        )


def _index_bomb(opening: bytes, piece: bytes, count: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(opening) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"x\xda" + begin + deflate_bomb(piece, count)[2:]
