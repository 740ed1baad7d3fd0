"""Files of BMP, TGA, GIF and others that Pillow decodes inexactly, without a warning: refused.

Formats that were never examined are refused too (TIFFs: tiffs.py).  These conversions count as
exact: 5 and 6 bits of a colour scaled to 8, 2 and 4 bits of gray likewise, an icon's mask as alpha,
a palette of all grays in order as gray, a GIF's transparent canvas around its frame, and the first
colour for pixels that run-length coding skips.
"""

import io
import re
import struct
from typing import BinaryIO

import numpy as np
from PIL import BmpImagePlugin, ImageFile
from PIL.IcoImagePlugin import IcoImageFile

from bitsback.codecs.formats import early_formats, jpeg2000, webp
from bitsback.codecs.formats.chunks import SIGNATURE
from bitsback.errors import UnsupportedImage

EXAMINED = {  # formats, by Pillow's names
    *("PNG", "WEBP", "TIFF", "BMP", "DIB", "PPM", "GIF", "ICO", "TGA", "PCX", "SGI", "SUN", "QOI"),
    *("JPEG2000", "AVIF", "XBM", "XPM", "MSP", "BITSBACK"),
}
NOT_ALPHA = "a fourth channel that is not declared as an ordinary alpha"


def _u16(data, at):
    return struct.unpack_from("<H", data, at)[0]


def _u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


# --- by format: (opened image, the file's bytes) to a reason or None --------------------------


def _bmp(image, data):
    head = data[14:] if data[:2] == b"BM" else data
    size = _u32(head, 0)
    bits, compression = _u16(head, 10 if size == 12 else 14), 0 if size == 12 else _u32(head, 16)
    rawmode = image.tile[0][3][0]
    if image.tile[0][0] == "raw" and {"1": 1, "L": 8}.get(rawmode, bits) != bits:
        return f"a palette of black and white for {bits} bits, which Pillow would misread"
    masks = head[40:56] if size >= 56 else head[40:52].ljust(16, b"\0")
    if compression == 3 and (bits == 16 and masks[12:] != bytes(4) or masks == bytes(16)):
        return "an alpha of few bits, which Pillow drops"
    return _padding(image, data)


def _padding(image, data):
    """A channel that a raw mode such as BGRX drops must be constant."""
    kind, (left, top, right, bottom), offset, arguments = image.tile[0]
    if kind != "raw" or len(arguments[0]) != 4 or "X" not in arguments[0]:
        return None
    count, place = 4 * right * bottom, arguments[0].index("X")
    unused = np.frombuffer(data, np.uint8, max(0, min(count, len(data) - offset)), offset)[place::4]
    varies = unused.size and unused.min() != unused.max()
    return "a fourth channel, which Pillow drops" if varies else None


def _tga(image, data):
    if data[17] >> 6:
        return "interleaved rows"
    entries, depth = _u16(data, 5), data[7]
    palette = data[18 + data[0] : 18 + data[0] + 2 * entries]
    if data[1] and depth == 16 and any(byte & 128 for byte in palette[1::2]):
        return NOT_ALPHA
    return None


def _sgi(image, data):
    if data[3] != 1:
        return "16 bits a sample, which Pillow would read as 8"
    return "a palette in another file" if data[104:108] != bytes(4) else None


def _sun(image, data):
    width, _, depth, _, kind, _, palette = struct.unpack_from(">7I", data, 4)
    if depth == 32 or depth == 1 and palette or kind == 2 and width * depth % 16:
        return "pixels that Pillow would misread"
    return None


def _ppm(image, data):
    if data[:2] not in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"):
        return "an extension by Pillow"
    if image.info.get("scale", 1) != 1:
        return f"a scale of {image.info['scale']}, which could not be stored"
    if data[:2] in (b"P4", b"P5", b"P6", b"Pf"):
        bits = {"1": 1, "L": 8, "RGB": 24, "I": 16, "F": 32}[image.mode]
        end = image.tile[0][2] + (image.width * bits + 7) // 8 * image.height
        if re.match(rb"\s*P[1-7fF]\s", data[end : end + 64]):
            return "several images; only single images can be stored"
    return None


def _gif(image, data):
    box = image.tile[0][1]
    if tuple(box) != (0, 0, *image.size) and "transparency" not in image.info:
        return "a frame smaller than its canvas, whose rest Pillow would invent"
    return None


def _ico(image, data):
    (entry,) = image.ico.entry
    data = data[entry.offset : entry.offset + entry.size]
    size, width, height, _, bits, compression, _, _, _, used = struct.unpack_from(
        "<IiiHHIIiiI", data
    )
    usual = size == 40 and not compression and width > 0 and height > 1 and height % 2 == 0
    if not usual or (bits == 32) != (entry.bpp == 32):
        return "an unusual header"
    with BmpImagePlugin.DibImageFile(io.BytesIO(data)) as inner:
        reason = _bmp(inner, data) if bits < 32 else None
    if reason:
        return reason
    height //= 2
    start = 40 + 4 * (used or 2**bits) * (bits <= 8)
    masked = start + (width * bits + 31) // 32 * 4 * height
    mask = data[masked : masked + (width + 31) // 32 * 4 * height]
    if bits < 32:
        expected = masked + len(mask) == entry.size and mask
        return None if expected else "its mask at another position than Pillow assumes"
    alpha = np.frombuffer(data, np.uint8, 4 * width * height, start)[3::4].reshape(height, width)
    padded = np.frombuffer(mask.ljust((width + 31) // 32 * 4 * height, b"\0"), np.uint8)
    hidden = np.unpackbits(padded.reshape(height, -1), axis=1)[:, :width]
    if not np.array_equal(hidden, alpha == 0) and (hidden.any() or not alpha.any()):
        return "a mask that differs from its alpha"
    return None


def _xpm(image, data):
    colours = re.findall(rb"\bc\s+#([0-9A-Fa-f]+)", data)
    return "colours of other than 8 bits" if any(len(c) != 6 for c in colours) else None


REASONS = {
    "BMP": _bmp,
    "DIB": _bmp,
    "TGA": _tga,
    "PCX": early_formats.pcx,
    "SGI": _sgi,
    "SUN": _sun,
}
REASONS |= {"PPM": _ppm, "GIF": _gif, "ICO": _ico, "XPM": _xpm, "XBM": early_formats.xbm}


# --- the checks ------------------------------------------------------------------------------


def inner_png(image: ImageFile.ImageFile, stream: BinaryIO) -> bytes | None:
    """The PNG inside an icon of one image, and what follows it, else None.

    Errors: UnsupportedImage for several images.
    """
    if not isinstance(image, IcoImageFile):
        return None
    entries = image.ico.entry
    if len(entries) != 1:
        raise UnsupportedImage(
            f"an icon of {len(entries)} images; only single images can be stored"
        )
    stream.seek(entries[0].offset)
    data = stream.read().rstrip(b"\0")  # to the end: data after the PNG are noticed
    return data if data.startswith(SIGNATURE) else None


def refuse_inexact(image: ImageFile.ImageFile, stream: BinaryIO, lossy: bool) -> None:
    """Checks an opened image before it is loaded.

    lossy: a lossy file whose samples are accepted as Pillow decodes them.  Errors:
    UnsupportedImage, with the reason.
    """
    if image.format not in EXAMINED and not lossy:
        raise UnsupportedImage(f"{image.format}: this format is not known to be read exactly")
    if image.format == "JPEG2000":
        found = jpeg2000.inspect(stream)
        image.info.setdefault("icc_profile", found.profile)  # Pillow drops it
        if found.comments:  # of which Pillow takes the first
            image.info["comment"] = b"\n".join(found.comments)
        if found.images > 1:
            raise UnsupportedImage("several images; only single images can be stored")
        if found.inexact and not lossy:
            raise UnsupportedImage(f"{image.format} with {found.inexact}")
    if image.format == "WEBP":
        for key, value in webp.metadata(stream).items():
            image.info.setdefault(key, value)
    if image.format in REASONS:
        stream.seek(0)
        data = stream.read()
        reason = REASONS[image.format](image, data)
        if reason:
            raise UnsupportedImage(f"{image.format} with {reason}")
        if image.format == "XBM" and (comments := early_formats.xbm_comments(data)):
            image.info["comment"] = comments


def refuse_undeclared_alpha(
    image: ImageFile.ImageFile, stream: BinaryIO, samples: np.ndarray
) -> None:
    """Checks a loaded TGA: a last channel that is not declared as alpha must be opaque.

    Errors: UnsupportedImage.
    """
    if image.format != "TGA" or image.mode not in ("RGBA", "LA") or samples[..., -1].min() == 255:
        return
    stream.seek(0)
    data = stream.read()
    place = _u32(data, len(data) - 26) if data[-18:] == b"TRUEVISION-XFILE.\0" else 0
    # attributes type of the extension area: 3 alpha, 4 premultiplied, others none
    kind = data[place + 494] if 0 < place < len(data) - 494 else 3
    if data[17] & 15 != 8 or kind != 3:
        raise UnsupportedImage(f"TGA with {NOT_ALPHA}")
