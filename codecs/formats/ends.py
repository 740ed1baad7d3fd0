"""Where the samples of a PCX, SGI, TGA and QOI, and an image of a GIF end."""

import re
import struct

import numpy as np

SINGLE_BYTES = re.compile(rb"[\0-\xbf]+")  # of a PCX's run-length coding
QOI_END = bytes(7) + b"\1"
LZW_CODES = 2**12  # looked at together


def end_of_pcx(data: bytes) -> int:
    """The position after a PCX's run-length coded samples."""
    top, bottom, stride = (int.from_bytes(data[at : at + 2], "little") for at in (6, 10, 66))
    at, left = 128, stride * data[65] * (bottom - top + 1)
    while left > 0 and at < len(data):
        if data[at] >= 0xC0:
            left, at = left - (data[at] & 63), at + 2
        elif single := SINGLE_BYTES.match(data, at, at + left):
            left, at = left - (single.end() - at), single.end()
    return at


def end_of_sgi(data: bytes) -> int:
    """The position after an SGI file's samples."""
    width, height, channels = struct.unpack_from(">3H", data, 6)
    if not data[2]:
        return 512 + data[3] * width * height * channels
    rows = np.frombuffer(data, ">u4", 2 * height * channels, 512).astype(np.int64)
    return int((rows[: len(rows) // 2] + rows[len(rows) // 2 :]).max(initial=512))


def end_of_tga(data: bytes) -> int:
    """The position after a TGA's samples."""
    kind, entries, entry = data[2], int.from_bytes(data[5:7], "little"), data[7]
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (12, 14))
    at = 18 + data[0] + entries * ((entry + 7) // 8) * (data[1] == 1)
    if kind < 8:
        return at + (width * data[16] + 7) // 8 * height
    pixel, left = (data[16] + 7) // 8, width * height
    while left > 0 and at < len(data):
        count = (data[at] & 127) + 1
        at += 1 + pixel * (1 if data[at] & 128 else count)
        left -= count
    return at


def end_of_qoi(data: bytes) -> int:
    """The position after a QOI's samples and its end marker."""
    left = int.from_bytes(data[4:8], "big") * int.from_bytes(data[8:12], "big")
    at = 14
    while left > 0 and at < len(data):
        code = data[at]
        left -= 1
        if code in (0xFE, 0xFF):  # RGB, RGBA
            at += 4 if code == 0xFE else 5
        elif code >> 6 == 3:  # a run of up to 62
            at, left = at + 1, left - (code & 63)
        else:  # an index, a difference, or one of brightness with a second byte
            at += 2 if code >> 6 == 2 else 1
    return at + len(QOI_END) * data.startswith(QOI_END, at)


def end_of_lzw(data: bytes, least: int) -> int | None:
    """The position after the LZW codes of a GIF's image, with their end; None without an end.

    least: bits of a sample.  The lengths of codes depend on their number since the last clear code
    alone, so that no table is built.
    """
    if not 1 <= least <= 11:
        return None
    clear, bytes_ = 1 << least, np.frombuffer(data + bytes(3), np.uint8).astype(np.uint32)
    three = bytes_[:-2] | bytes_[1:-1] << 8 | bytes_[2:] << 16
    place, count = 0, 0  # in bits; of codes since the last clear code
    while place < 8 * len(data):
        entries = clear + 2 + np.maximum(np.arange(count, count + LZW_CODES) - 1, 0)
        lengths = np.minimum(np.maximum(np.ceil(np.log2(entries + 1)), least + 1), 12)
        ends = place + np.cumsum(lengths.astype(int))
        starts = ends - lengths.astype(int)
        starts = starts[starts < 8 * len(data)]
        size = lengths[: len(starts)].astype(np.uint32)
        codes = three[starts >> 3] >> (starts & 7).astype(np.uint32) & (1 << size) - 1
        found = np.flatnonzero((codes == clear) | (codes == clear + 1))
        if not found.size:
            place, count = int(ends[-1]), count + LZW_CODES
        elif codes[found[0]] == clear + 1:
            return -(-int(ends[found[0]]) // 8)
        else:
            place, count = int(ends[found[0]]), 0
    return None
