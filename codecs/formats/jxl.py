"""Lossless JPEG XL, decoded by imagecodecs; jxl_head.py recognises lossy files.

The codestream is bare or in boxes.  A file is accepted as lossless if it uses neither XYB nor
VarDCT and does not reconstruct a JPEG (box jbrd).  Modular coding can quantise too; then what it
decodes to is stored.
"""

import io
from typing import BinaryIO

import numpy as np
from PIL import Image

from bitsback.codecs.fallback.jxl import load_imagecodecs
from bitsback.codecs.fallback.jxl_frames import end_of_frames
from bitsback.codecs.fallback.jxl_head import read_head
from bitsback.codecs.formats.containers import CUT, DAMAGED, END, MOST_LOST, boxes, printable_name
from bitsback.codecs.image import ImageData
from bitsback.errors import LossySource, UnsupportedImage

SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
BARE = b"\xff\x0a"
METADATA = 2**24  # limit of bytes of an Exif or XML box, unpacked
KEPT = (b"Exif", b"xml ")  # boxes that are stored, plain or compressed in brob
LAYOUT = (b"JXL ", b"ftyp", b"jxll", b"jxli", b"jbrd", b"free", b"skip")
MODES = {
    (1, 8): "L",
    (2, 8): "LA",
    (3, 8): "RGB",
    (4, 8): "RGBA",
    (1, 16): "I;16",
    (2, 16): "LA;16",
    (3, 16): "RGB;16",
    (4, 16): "RGBA;16",
}
PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # sRGB's, in PNG's order


def is_jxl(head: bytes) -> bool:
    """Whether a file is a JPEG XL, by its first 12 bytes."""
    return head == SIGNATURE or head[:2] == BARE


def _parts(stream):
    """(codestream, {name: metadata box}, whether a JPEG can be reconstructed from it, names of
    boxes that are not kept)."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if stream.read(2) == BARE:
        stream.seek(0)
        return stream.read(), {}, False, ()
    stream.seek(0)
    pieces, kept, jpeg, lost = [], {}, False, []
    for name, place, size in boxes(stream, end):
        stream.seek(place)
        if name in (b"jxlc", b"jxlp"):
            pieces.append(stream.read(size)[4 * (name == b"jxlp") :])
        elif name in KEPT and size <= METADATA and name not in kept:
            kept[name] = stream.read(size)
        elif name == b"brob" and size <= METADATA:
            inner = stream.read(4)
            if inner in KEPT and inner not in kept:
                unpack = load_imagecodecs().brotli_decode
                kept[inner] = bytes(unpack(stream.read(size - 4), out=METADATA))
            else:
                lost.append(inner)
        elif name not in LAYOUT:
            lost.append(name)
        jpeg |= name == b"jbrd"
    names = dict.fromkeys(DAMAGED if name == CUT else printable_name(name) for name in lost)
    return b"".join(pieces), kept, jpeg, tuple(names)[:MOST_LOST]


def _metadata(kept, head):
    """ImageData.metadata: Exif, XMP, gamma and chromaticity.

    Errors: UnsupportedImage for an Exif orientation, which programs ignore in a JPEG XL but apply
    in the restored PNG.
    """
    found = {}
    if b"Exif" in kept:
        found["exif"] = b"Exif\0\0" + kept[b"Exif"][4 + int.from_bytes(kept[b"Exif"][:4], "big") :]
        exif = Image.Exif()
        exif.load(found["exif"])
        if exif.get(0x112, 1) != 1:
            raise UnsupportedImage(
                "JPEG XL with an Exif orientation, which programs would apply in the restored file"
            )
    if b"xml " in kept:
        found["xmp"] = kept[b"xml "]
    if head.gamma:
        found["gamma"] = head.gamma
        if head.channels > 2:
            found["chromaticity"] = PRIMARIES
    return found


def read(stream: BinaryIO) -> ImageData:
    """Reads a lossless JPEG XL of 8 or 16 bits.

    Errors: UnsupportedImage, LossySource, with the reason; MissingPackage.
    """
    imagecodecs = load_imagecodecs()
    data, kept, jpeg, lost = _parts(stream)
    head = read_head(data[: 2**16])
    limit = Image.MAX_IMAGE_PIXELS
    if limit and head.width * head.height > limit:
        raise UnsupportedImage(
            f"{head.width}x{head.height} pixels are more than Pillow's limit, {limit}"
        )
    if head.loss or jpeg:
        reason = "a JPEG can be reconstructed from it" if jpeg else head.loss
        raise LossySource(
            f"JPEG XL was compressed with loss already ({reason}); keep the file as it is"
        )
    if head.unsupported or head.bits is None:
        raise UnsupportedImage(f"JPEG XL with {head.unsupported or 'floating-point samples'}")
    try:
        samples = np.asarray(imagecodecs.jpegxl_decode(data))
    except Exception as error:  # libjxl's errors for damaged files
        raise UnsupportedImage(f"damaged image ({error})") from None
    expected = (head.height, head.width, head.channels)[: 2 if head.channels == 1 else 3]
    if samples.shape not in (expected, (*expected, 1)) or samples.dtype != f"u{head.bits // 8}":
        raise UnsupportedImage(
            f"JPEG XL that decodes to other samples, {samples.dtype} {samples.shape}"
        )
    samples = np.ascontiguousarray(samples.reshape(expected), f"<u{head.bits // 8}")
    extra = head.channels % 2 == 0
    end = end_of_frames(data, head.frames, head.height, head.width, extra) if head.frames else None
    if end is not None and data[end:].strip(b"\0"):
        lost = (*lost, END)
    return ImageData(MODES[head.channels, head.bits], samples, {}, _metadata(kept, head), lost=lost)
