"""The headers of a JPEG XL codestream (ISO/IEC 18181-1): size, bits, channels, colours, loss.

ImageMetadata contains bits, extra channels and whether the colours are XYB; the first FrameHeader
says whether the coding is VarDCT or Modular.
"""

from dataclasses import dataclass

from bitsback.codecs.bitstream.bits import Bits

RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
# U32: (offset, bits) of the four ways to write a number
SIZES = ((0, 9), (0, 13), (0, 18), (0, 30))
ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
DEPTHS = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_DEPTHS = ((32, 0), (16, 0), (24, 0), (1, 6))
SHIFTS = ((0, 0), (3, 0), (4, 0), (1, 3))
NAME_LENGTHS = ((0, 0), (0, 4), (16, 5), (48, 10))
EXTRA_CHANNELS = ((0, 0), (1, 0), (2, 4), (1, 12))
LINEAR, SRGB = 8, 13  # transfer functions


@dataclass
class Head:
    """The properties of a codestream.

    channels: including alpha; loss: why it is lossy, or None; unsupported: why an image of modes 8
    or 16 bits cannot hold it, or None; frames: position of the first frame's first byte, where the
    headers could be read so far.
    """

    width: int = 0
    height: int = 0
    bits: int | None = 8  # per sample; None: floating point
    channels: int = 3
    gamma: float | None = None  # if the transfer function is not sRGB's
    loss: str | None = None
    unsupported: str | None = None
    frames: int = 0


def u32(bits: Bits, ways: tuple[tuple[int, int], ...]) -> int:
    """A number in one of four ways."""
    offset, count = ways[bits.take(2)]
    return offset + bits.take(count)


def _sides(bits):
    """(height, width) of a SizeHeader."""
    small = bits.take(1)
    side = (lambda: 8 * (bits.take(5) + 1)) if small else (lambda: u32(bits, SIZES) + 1)
    height, ratio = side(), bits.take(3)
    return height, side() if ratio == 0 else height * RATIOS[ratio - 1][0] // RATIOS[ratio - 1][1]


def _depth(bits):
    """Bits per sample; None of floating point."""
    if bits.take(1):
        u32(bits, FLOAT_DEPTHS)
        bits.take(4)  # of the exponent
        return None
    return u32(bits, DEPTHS)


def _alpha(bits, head):
    """Reads the only extra channel; returns why it cannot be stored, or None."""
    if bits.take(1):
        return None if head.bits == 8 else "an alpha with other bits than its colours"
    kind, depth, shift = u32(bits, ENUM), _depth(bits), u32(bits, SHIFTS)
    bits.take(8 * u32(bits, NAME_LENGTHS))  # the name
    if kind or shift or depth != head.bits:
        return "an extra channel that is not an alpha with the colours' bits"
    return "colours premultiplied by alpha" if bits.take(1) else None


def _colours(bits, head):
    """Reads ColourEncoding into `head`; returns why it cannot be stored, or None."""
    if bits.take(1):
        return None
    profile, space = bits.take(1), u32(bits, ENUM)
    head.channels -= 2 * (space == 1)
    if profile or space > 1:
        return "a colour profile, which is not decoded"
    if u32(bits, ENUM) != 1 or space == 0 and u32(bits, ENUM) != 1:
        return "colours with other primaries than sRGB's, which could not be stored"
    if bits.take(1):
        head.gamma = bits.take(24) / 1e7
    elif (transfer := u32(bits, ENUM)) != SRGB:
        if transfer != LINEAR:
            return "colours with another transfer function than sRGB's, which could not be stored"
        head.gamma = 1.0
    u32(bits, ENUM)  # rendering intent
    return None


def read_head(data: bytes) -> Head:
    """Parses the first bytes of a codestream.  Errors: UnsupportedImage if they end too early."""
    bits, head = Bits(data), Head()
    bits.take(16)
    head.height, head.width = _sides(bits)
    if bits.take(1):  # all default
        head.loss = "its colours are XYB"
        return head
    extra = bits.take(1)
    if extra:
        if bits.take(3):
            head.unsupported = "an orientation, which could not be stored"
        if bits.take(1):
            head.unsupported = "a preferred size other than that of its pixels"
            _sides(bits)
        if bits.take(2):
            head.unsupported = "an animation or a preview"
            return head
    head.bits = _depth(bits)
    bits.take(1)
    count = u32(bits, EXTRA_CHANNELS)
    if count > 1:
        head.unsupported = f"{count} extra channels"
        return head
    if count:
        head.channels += 1
        head.unsupported = _alpha(bits, head) or head.unsupported
    if bits.take(1):
        head.loss = "its colours are XYB"
        return head
    head.unsupported = head.unsupported or _colours(bits, head)
    if not head.unsupported:
        _frame(bits, head, extra)
    if head.bits not in (8, 16):
        depth = f"samples of {head.bits} bits" if head.bits else "floating-point samples"
        head.unsupported, head.loss = depth, None
    return head


def _frame(bits, head, extra):
    """Reads on from the colours to the first frame header's encoding."""
    if extra and not bits.take(1):
        bits.take(16 + 16 + 1 + 16)  # tone mapping
    if bits.take(2) or not bits.take(1):
        head.unsupported = "extensions or custom transforms"
        return
    bits.align()
    head.frames = bits.position // 8
    if bits.take(1) or bits.take(2) or not bits.take(1):
        head.loss = "it is coded by VarDCT, or not declared as lossless"
