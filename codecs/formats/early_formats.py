"""PCX and XBM files that Pillow would misread: refused, as those of quirks.py."""

import re
from typing import Any

from bitsback.codecs.formats.ends import end_of_pcx

# black and white, or no palette; some programs obey others, and Pillow does not
MONOCHROME = {bytes(3) + b"\xff\xff\xff", bytes(6), b"\xff" * 6}
XBM_BYTES = re.compile(rb"\s*(?:0x[0-9A-Fa-f]{2}\s*,\s*)*(?:0x[0-9A-Fa-f]{2}\s*)?")
LARGER_THAN_BYTES = re.compile(rb"\b(?:short|int|long|u?int(?:16|32)_t)\b")


def pcx(image: Any, data: bytes) -> str | None:
    """Why Pillow, which opened `image`, misreads a PCX; None if it does not."""
    bits, planes, stride = data[3], data[65], int.from_bytes(data[66:68], "little")
    if data[2] != 1:
        return "samples that are not compressed, which Pillow would misread"
    if image.tile[0][3][1] != stride * planes:
        return "rows of another length than Pillow assumes"
    if bits == planes == 1 and data[16:22] not in MONOCHROME:
        return "a palette other than black and white, which Pillow would drop"
    if bits == 8 and planes == 1:
        end = end_of_pcx(data)
        if data[-769:-768] == b"\x0c":
            whole = end <= len(data) - 769
            return None if whole else "a palette among its pixels, or pixels missing"
        rest, gray = data[end:], int.from_bytes(data[68:70], "little") == 2
        if rest[:1] == b"\x0c" or any(rest) and not gray:
            return "a palette that is cut or not at the end, which Pillow would drop"
    return "no palette in the file" if data[1] in (3, 4) and bits == 1 and planes > 1 else None


def xbm(image: Any, data: bytes) -> str | None:
    """Why Pillow, which opened `image`, misreads an XBM; None if it does not."""
    start = image.tile[0][2]
    declared = data[:start].rstrip().rpartition(b"\n")[2]
    # Pillow takes the two characters after each x, in comments too
    array = re.sub(rb"/\*[^x]*?\*/", b"", data[start:].partition(b"}")[0])
    if LARGER_THAN_BYTES.search(declared) or not XBM_BYTES.fullmatch(array):
        return "numbers other than bytes of two hexadecimal digits"
    missing = array.count(b"x") < (image.width + 7) // 8 * image.height
    return "fewer bytes than pixels" if missing else None


def xbm_comments(data: bytes) -> bytes:
    """The comments before an XBM's array, which Pillow skips."""
    found = re.findall(rb"/\*(.*?)\*/", data.partition(b"{")[0], re.DOTALL)
    return b"\n".join(comment.strip() for comment in found)
