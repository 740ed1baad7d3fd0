"""JPEG XL: the headers that a part lacks (FORMAT.md, section 7.4), and the frames by libjxl."""

import imagecodecs
import numpy as np

from tests.second_decoder.errors import check
from tests.second_decoder.jxl_frames import check_frames


class Bits:
    """Filled from the low bits of each byte."""

    def __init__(self):
        self.value, self.count = 0, 0

    def put(self, *pairs):
        """pairs: (value, number of bits)."""
        for value, bits in pairs:
            self.value |= value << self.count
            self.count += bits

    def to_bytes(self):
        return self.value.to_bytes((self.count + 7) // 8, "little")


def side(bits, size):
    """U32(1 + u(9), 1 + u(13), 1 + u(18), 1 + u(30)), the first that holds it."""
    way = next(i for i, width in enumerate((9, 13, 18, 30)) if size <= 1 << width)
    bits.put((way, 2), (size - 1, (9, 13, 18, 30)[way]))


def depth(bits, dtype):
    if dtype.kind == "f":
        bits.put((1, 1), (0, 2), (7, 4))  # 32 bits, 1 + 7 of them the exponent's
    elif dtype.itemsize == 1:
        bits.put((0, 1), (0, 2))
    else:
        bits.put((0, 1), (3, 2), (15, 6))


def head(shape, dtype):
    """The bytes of SizeHeader, ImageMetadata and the flag of the default transforms."""
    bits = Bits()
    bits.put((0, 1))  # div8
    side(bits, shape[0])
    bits.put((0, 3))  # ratio
    side(bits, shape[1])
    bits.put((0, 1), (0, 1))  # all_default, extra_fields
    depth(bits, dtype)
    bits.put((dtype.itemsize == 1, 1))  # modular_16_bit_buffers
    alpha = shape[2] in (2, 4)
    bits.put((alpha, 2))  # num_extra_channels
    if alpha:
        bits.put((0, 1), (0, 2))  # all_default, type alpha
        depth(bits, dtype)
        bits.put((0, 2), (0, 2), (0, 1))  # dim_shift, name's length, alpha_associated
    bits.put((0, 1))  # xyb_encoded
    if shape[2] < 3:
        bits.put((0, 1), (0, 1), (1, 2), (1, 2))  # all_default, want_icc, gray, D65
        bits.put((0, 1), (2, 2), (13 - 2, 4), (1, 2))  # have_gamma, sRGB, relative
    else:
        bits.put((1, 1))
    bits.put((0, 2), (1, 1))  # extensions, default_m
    return bits.to_bytes()


def decode(data, shape, dtype):
    check(shape[2] <= 4, "too many channels")
    check_frames(data, shape)
    try:
        found = imagecodecs.jpegxl_decode(b"\xff\x0a" + head(shape, dtype) + data)
    except (imagecodecs.JpegxlError, ValueError, RuntimeError):
        check(False, "a JPEG XL")
    found = found if found.ndim == 3 else found[..., None]
    check(found.shape == tuple(shape), "a JPEG XL of another shape")
    return np.ascontiguousarray(found.astype(dtype.newbyteorder("="), copy=False)).astype(dtype)
