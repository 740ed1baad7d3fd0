"""Where Pillow hands over other samples than a file of BMP, TGA, GIF and the like holds, and says
nothing: refused, with the reason.

Formats that nobody has looked at here are refused as such (TIFFs: tiffs.py).  What is taken as the
same image: 5 and 6 bits of a colour spread over 8, 2 and 4 bits of gray likewise, icons' masks as
alpha, palettes of all grays in order as gray, a GIF's canvas around its frame where that is
transparent, and what run-length coding skips as the first colour.
"""

import io
import re
import struct

import numpy as np
from PIL import BmpImagePlugin, Image

from bitsback.codecs.formats import jpeg2000
from bitsback.errors import UnsupportedImage

LOOKED_AT = {  # all of Pillow's names
    *("PNG", "WEBP", "TIFF", "BMP", "DIB", "PPM", "GIF", "ICO", "TGA", "PCX", "SGI", "SUN", "QOI"),
    *("JPEG2000", "AVIF", "XBM", "XPM", "MSP", "BITSBACK"),
}
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
OPAQUE = "a fourth channel that the file does not call alpha, or not an ordinary one"


def _u16(data, at):
    return struct.unpack_from("<H", data, at)[0]


def _u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


# --- format by format: (opened image, the file's bytes) -> reason or None ---------------------


def _bmp(image, data):
    head = data[14:] if data[:2] == b"BM" else data
    size = _u32(head, 0)
    bits, compression = _u16(head, 10 if size == 12 else 14), 0 if size == 12 else _u32(head, 16)
    rawmode = image.tile[0][3][0]
    if image.tile[0][0] == "raw" and {"1": 1, "L": 8}.get(rawmode, bits) != bits:
        return f"a palette of black and white for {bits} bits, whose pixels Pillow would misread"
    masks = head[40:56] if size >= 56 else head[40:52].ljust(16, b"\0")
    if compression == 3 and (bits == 16 and masks[12:] != bytes(4) or masks == bytes(16)):
        return "an alpha of few bits, which Pillow leaves out"
    return _padding(image, data)


def _padding(image, data):
    """What a raw mode such as BGRX leaves out may be left out if it is the same everywhere."""
    kind, (left, top, right, bottom), offset, arguments = image.tile[0]
    if kind != "raw" or len(arguments[0]) != 4 or "X" not in arguments[0]:
        return None
    count, place = 4 * right * bottom, arguments[0].index("X")
    unused = np.frombuffer(data, np.uint8, max(0, min(count, len(data) - offset)), offset)[place::4]
    return (
        "a fourth channel, which Pillow leaves out"
        if unused.size and unused.min() != unused.max()
        else None
    )


def _tga(image, data):
    if data[17] >> 6:
        return "interleaved rows"
    entries, depth = _u16(data, 5), data[7]
    palette = data[18 + data[0] : 18 + data[0] + 2 * entries]
    if data[1] and depth == 16 and any(byte & 128 for byte in palette[1::2]):
        return OPAQUE
    return None


def _pcx(image, data):
    if image.tile[0][3][1] != _u16(data, 66) * data[65]:
        return "rows of another length than Pillow takes them for"
    return "no palette of its own" if data[1] in (3, 4) and data[3] == 1 and data[65] > 1 else None


def _sgi(image, data):
    if data[3] != 1:
        return "16 bits a sample, which Pillow would read as 8"
    return "colours by another file's palette" if data[104:108] != bytes(4) else None


def _sun(image, data):
    width, _, depth, _, kind, _, palette = struct.unpack_from(">7I", data, 4)
    if depth == 32 or depth == 1 and palette or kind == 2 and width * depth % 16:
        return "pixels that Pillow would read wrongly"
    return None


def _ppm(image, data):
    if data[:2] not in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"):
        return "a kind that no other program writes"
    if image.info.get("scale", 1) != 1:
        return f"a scale of {image.info['scale']}, which could not be kept"
    if data[:2] in (b"P4", b"P5", b"P6", b"Pf"):
        bits = {"1": 1, "L": 8, "RGB": 24, "I": 16, "F": 32}[image.mode]
        end = image.tile[0][2] + (image.width * bits + 7) // 8 * image.height
        if re.match(rb"\s*P[1-7fF]\s", data[end : end + 64]):
            return "several images; only single ones can be kept"
    return None


def _gif(image, data):
    box = image.tile[0][1]
    if tuple(box) != (0, 0, *image.size) and "transparency" not in image.info:
        return "a frame smaller than its canvas, of which Pillow would make up the rest"
    return None


def _ico(image, data):
    (entry,) = image.ico.entry
    data = data[entry.offset : entry.offset + entry.size]
    size, width, height, _, bits, compression, _, _, _, used = struct.unpack_from(
        "<IiiHHIIiiI", data
    )
    if (
        size != 40
        or compression
        or width < 1
        or height < 2
        or height % 2
        or (bits == 32) != (entry.bpp == 32)
    ):
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
        return (
            None
            if masked + len(mask) == entry.size and mask
            else "its mask at another place than Pillow looks for it"
        )
    alpha = np.frombuffer(data, np.uint8, 4 * width * height, start)[3::4].reshape(height, width)
    hidden = np.unpackbits(
        np.frombuffer(mask.ljust((width + 31) // 32 * 4 * height, b"\0"), np.uint8).reshape(
            height, -1
        ),
        axis=1,
    )[:, :width]
    if not np.array_equal(hidden, alpha == 0) and (hidden.any() or not alpha.any()):
        return "a mask that says other than its alpha"
    return None


def _xpm(image, data):
    return (
        "colours of other than 8 bits"
        if any(len(c) != 6 for c in re.findall(rb"\bc\s+#([0-9A-Fa-f]+)", data))
        else None
    )


REASONS = {"BMP": _bmp, "DIB": _bmp, "TGA": _tga, "PCX": _pcx, "SGI": _sgi, "SUN": _sun}
REASONS |= {"PPM": _ppm, "GIF": _gif, "ICO": _ico, "XPM": _xpm}


# --- what images.py asks ---------------------------------------------------------------------


def inner_png(image: Image.Image, stream) -> bytes | None:
    """The PNG that an icon of one image consists of; else None.

    Errors: UnsupportedImage for several images.
    """
    if image.format != "ICO":
        return None
    if len(image.ico.entry) != 1:
        raise UnsupportedImage(
            f"an icon of {len(image.ico.entry)} images; only single images can be kept"
        )
    stream.seek(image.ico.entry[0].offset)
    data = stream.read(image.ico.entry[0].size)
    return data if data.startswith(PNG_MAGIC) else None


def refuse_inexact(image: Image.Image, stream, lossy: bool) -> None:
    """An opened image, not yet loaded.

    lossy: of a format that stores no samples, taken as Pillow reads it.  Errors: UnsupportedImage.
    """
    if image.format not in LOOKED_AT and not lossy:
        raise UnsupportedImage(f"{image.format}: not known to be read exactly")
    if image.format == "JPEG2000":
        found = jpeg2000.inspect(stream)
        image.info.setdefault("icc_profile", found.profile)  # which Pillow leaves out
        if found.odd and not lossy:
            raise UnsupportedImage(f"{image.format} with {found.odd}")
    if image.format in REASONS:
        stream.seek(0)
        reason = REASONS[image.format](image, stream.read())
        if reason:
            raise UnsupportedImage(f"{image.format} with {reason}")


def refuse_unsaid_alpha(image: Image.Image, stream, samples: np.ndarray) -> None:
    """A loaded TGA whose fourth channel (second beside gray) is not said to be a plain alpha must
    be opaque.  Errors: UnsupportedImage.
    """
    if image.format != "TGA" or image.mode not in ("RGBA", "LA") or samples[..., -1].min() == 255:
        return
    stream.seek(0)
    data = stream.read()
    place = _u32(data, len(data) - 26) if data[-18:] == b"TRUEVISION-XFILE.\0" else 0
    kind = (
        data[place + 494] if 0 < place < len(data) - 494 else 3
    )  # of the version 2 extension: 3 alpha, 4 premultiplied, others none
    if data[17] & 15 != 8 or kind != 3:
        raise UnsupportedImage(f"TGA with {OPAQUE}")
