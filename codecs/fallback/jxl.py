"""JPEG XL without its headers: the frames alone (ISO/IEC 18181-1).  libjxl does the coding.

Shape and dtype of the samples are known, so the decoder writes the headers itself: a stream cannot
claim another size, animation, orientation or colour profile.  Channels have no meaning: two are
gray and alpha, four colours and alpha, whose colours libjxl keeps where alpha is 0.  Samples of 1
and 2 bytes are integers, float32 is coded bit for bit.

imagecodecs is imported where it is needed, so that files without such a part decode without it.
"""

from typing import Any

import numpy as np

from bitsback.codecs.fallback.jxl_frames import check_frames
from bitsback.codecs.fallback.jxl_head import read_head
from bitsback.errors import MissingPackage, UnsupportedImage

QUICK, USUAL, MOST = 3, 7, 9  # libjxl's efforts
STRIP = 2**22  # pixels that jxl_size codes at once
SIGNATURE = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"


def load_imagecodecs() -> Any:
    """The module imagecodecs.  Errors: MissingPackage."""
    try:
        import imagecodecs
    except ImportError:
        raise MissingPackage(
            "needs the package imagecodecs, which is not installed (pip install imagecodecs)"
        ) from None
    return imagecodecs


class _Writer:
    """Bits from the lowest of each byte."""

    def __init__(self):
        self.value = self.count = 0

    def put(self, number, bits):
        self.value |= number << self.count
        self.count += bits

    def side(self, number):
        """U32 of number - 1 in 9, 13, 18 or 30 bits."""
        way = next(way for way, bits in enumerate((9, 13, 18, 30)) if number <= 1 << bits)
        self.put(way, 2)
        self.put(number - 1, (9, 13, 18, 30)[way])

    def depth(self, dtype):
        """BitDepth: 8 or 16 bits, or float32."""
        if dtype.kind == "f":
            self.put(1, 1 + 2)  # floating point, 32 bits
            self.put(8 - 1, 4)  # of exponent
        elif dtype.itemsize == 1:
            self.put(0, 1 + 2)
        else:
            self.put(0, 1)
            self.put(3, 2)
            self.put(16 - 1, 6)

    def to_bytes(self):
        return self.value.to_bytes(-(-self.count // 8), "little")


def header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Signature, SizeHeader and ImageMetadata of samples (H, W) or (H, W, 2 to 4)."""
    bits, channels = _Writer(), (*shape, 1)[2]
    bits.put(0, 1)  # sides as they are
    bits.side(shape[0])
    bits.put(0, 3)  # no ratio
    bits.side(shape[1])
    bits.put(0, 1 + 1)  # not all default; no orientation, preview or animation
    bits.depth(dtype)
    bits.put(dtype.itemsize == 1, 1)  # whether buffers of 16 bits suffice
    bits.put(1 - channels % 2, 2)  # extra channels
    if channels % 2 == 0:
        bits.put(0, 1 + 2)  # not all default; alpha
        bits.depth(dtype)
        bits.put(0, 2 + 2 + 1)  # not reduced, no name, not premultiplied
    bits.put(0, 1)  # no XYB
    if channels > 2:
        bits.put(1, 1)  # sRGB
    else:
        bits.put(0, 1 + 1)  # not all default; no profile
        bits.put(1, 2)  # gray
        bits.put(1, 2)  # D65
        bits.put(0, 1)  # no gamma
        bits.put(2 | 11 << 2, 6)  # sRGB's transfer function
        bits.put(1, 2)  # relative intent
    bits.put(0, 2)  # no extensions
    bits.put(1, 1)  # no other transforms
    return SIGNATURE + bits.to_bytes()


def _codestream(data):
    """The codestream of what libjxl wrote, which puts some into a container of boxes."""
    if not data.startswith(CONTAINER):
        return data
    position, pieces = 0, []
    while position < len(data):
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 :][:4]
        head = 16 if size == 1 else 8
        size = int.from_bytes(data[position + 8 : position + 16], "big") if size == 1 else size
        body = data[position + head : position + size if size else None]
        pieces += [body] * (name == b"jxlc") + [body[4:]] * (name == b"jxlp")
        position += size or len(data)
    return b"".join(pieces)


def encode_jxl(samples: np.ndarray, effort: int) -> bytes:
    """(H, W) or (H, W, 2 to 4) uint8, uint16 or float32 -> frames of a JPEG XL codestream.

    Errors: MissingPackage; ValueError where libjxl cannot code them.
    """
    jxl = load_imagecodecs()
    try:
        data = jxl.jpegxl_encode(
            np.ascontiguousarray(samples),
            lossless=True,
            effort=effort,
            usecontainer=False,
            numthreads=1,
        )
    except (RuntimeError, ValueError, NotImplementedError) as error:  # JpegxlError is the first
        raise ValueError(str(error)) from None
    data = _codestream(bytes(data))
    try:
        return data[read_head(data).frames :]
    except UnsupportedImage as error:
        raise ValueError(str(error)) from None


def decode_jxl(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The mirror of encode_jxl.  The frames are checked before libjxl gets them (jxl_frames.py).

    Errors: MissingPackage, ValueError.
    """
    jxl = load_imagecodecs()
    head = header(shape, dtype)
    try:
        check_frames(head + data, len(head), shape[0], shape[1], 1 - (*shape, 1)[2] % 2)
        samples = jxl.jpegxl_decode(head + data, numthreads=1)
    except (RuntimeError, UnsupportedImage) as error:
        raise ValueError(str(error)) from None
    if samples.dtype != dtype or samples.size != np.prod(shape):
        raise ValueError("JPEG XL of other samples")
    return samples.reshape(shape)


def parts(samples: np.ndarray) -> list[np.ndarray]:
    """Views of the rows of samples, STRIP pixels each or one row: what jxl_size codes at once."""
    rows = max(1, STRIP // samples.shape[1])
    return [samples[top : top + rows] for top in range(0, len(samples), rows)]


def jxl_size(samples: np.ndarray, effort: int = QUICK) -> int:
    """Bytes as JPEG XL, the byte that names the coder included; an image of more than STRIP pixels
    is coded in strips, whose sizes are added.  Errors: as encode_jxl's."""
    return sum(1 + len(encode_jxl(part, effort)) for part in parts(samples))
