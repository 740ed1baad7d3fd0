"""A lossless coder for samples of any width: differences, byte planes, LZMA or deflate.

    samples -> unsigned integers -> differences mod 2^n (to the left, up, both)
            -> one plane for each byte of significance -> LZMA or deflate

Cumulative sums undo the differences, so decoding is as vectorised as encoding.  First byte of the
result: bits 0-1 the differences, bit 2 channels minus the second one, bit 3 LZMA.
"""

import lzma
import zlib

import numpy as np
from numpy.typing import DTypeLike

from bitsback.errors import DamagedFile

LEFT, UP, CHANNELS, LZMA = 1, 2, 4, 8
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 2**22, "lc": 3, "lp": 0, "pb": 0}]
# Smallest that LZMA allows.  Data no longer than its dictionary compresses to the same bytes with a
# larger one; of small data most of the time goes into clearing the dictionary.
LEAST_DICTIONARY = 2**12


def _unsigned(dtype):
    return np.dtype(f"<u{np.dtype(dtype).itemsize}")


def _forward(samples, way):
    """Samples -> bytes: differences, then one plane for each channel and byte of significance."""
    x = np.ascontiguousarray(samples).view(_unsigned(samples.dtype))
    x = x.copy() if x.ndim == 3 else x[..., None].copy()
    if way & CHANNELS:
        second = x[..., 1].copy()
        x -= second[..., None]
        x[..., 1] = second
    if way & LEFT:
        x[:, 1:] -= x[:, :-1].copy()
    if way & UP:
        x[1:] -= x[:-1].copy()
    size = x.dtype.itemsize
    return np.ascontiguousarray(
        x.view("u1").reshape(*x.shape, size).transpose(2, 3, 0, 1)
    ).tobytes()


def _backward(data, shape, dtype, way):
    """The mirror of _forward."""
    height, width, channels = (*shape, 1)[:3]
    unsigned = _unsigned(dtype)
    bytes_apart = np.frombuffer(data, "u1").reshape(channels, unsigned.itemsize, height, width)
    x = np.ascontiguousarray(bytes_apart.transpose(2, 3, 0, 1)).view(unsigned)[..., 0]
    if way & UP:
        x = np.cumsum(x, 0, dtype=unsigned)
    if way & LEFT:
        x = np.cumsum(x, 1, dtype=unsigned)
    if way & CHANNELS:
        second = x[..., 1].copy()
        x = x + second[..., None]
        x[..., 1] = second
    return np.ascontiguousarray(x).view(dtype).reshape(shape)


def _filters(length):
    """FILTERS with a dictionary for `length` bytes."""
    (filters,) = FILTERS
    return [filters | {"dict_size": min(filters["dict_size"], max(LEAST_DICTIONARY, length))}]


def encode_differences(samples: np.ndarray) -> bytes:
    """(H, W) or (H, W, C) array of 1, 2 or 4 bytes a sample -> the fewest bytes of several ways.

    A fast deflate ranks the ways; the best two are tried in full.
    """
    ways = [
        way | extra
        for way in (0, LEFT, UP, LEFT | UP)
        for extra in ((0, CHANNELS) if samples.ndim == 3 and samples.shape[2] >= 3 else (0,))
    ]
    ways.sort(key=lambda way: len(zlib.compress(_forward(samples, way), 1)))
    results = []
    for way in ways[:2]:
        data = _forward(samples, way)
        results += [
            bytes([way]) + zlib.compress(data, 9),
            bytes([way | LZMA]) + lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(len(data))),
        ]
    return min(results, key=len)


def inflate(data: bytes, limit: int, packed_by_lzma: bool | int) -> bytes:
    """At most `limit` bytes out of a deflate or LZMA stream that ends where `data` ends.

    Errors: DamagedFile.
    """
    unpacker = (
        lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
        if packed_by_lzma
        else zlib.decompressobj()
    )
    try:
        out = unpacker.decompress(data, limit + 1)
    except (lzma.LZMAError, zlib.error, EOFError):
        raise DamagedFile("packed bytes do not unpack") from None
    if len(out) > limit or not unpacker.eof or unpacker.unused_data:
        raise DamagedFile("packed bytes do not end where they should")
    return out


def decode_differences(data: bytes, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """The mirror of encode_differences; unpacks no more bytes than shape and dtype need.

    Errors: DamagedFile.
    """
    way, size = (
        data[0] if data else 255,
        int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize,
    )
    if way > 15 or way & CHANNELS and (len(shape) < 3 or shape[2] < 3):
        raise DamagedFile("an unknown kind of differences")
    unpacked = inflate(data[1:], size, way & LZMA)
    if len(unpacked) != size:
        raise DamagedFile("samples are missing")
    return _backward(unpacked, shape, dtype, way)
