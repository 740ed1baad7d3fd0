"""What the headers of a JPEG XL codestream (ISO/IEC 18181-1) say: size, bits, channels, colours,
with or without loss.

ImageMetadata tell bits, extra channels and whether the colours are XYB, the first FrameHeader
whether they are VarDCT or Modular.
"""

from dataclasses import dataclass

from bitsback.codecs.formats.bits import Bits

RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIZES = (
    (0, 9),
    (0, 13),
    (0, 18),
    (0, 30),
)  # (what is added, bits) of the four ways to write a number
ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
LINEAR, SRGB = 8, 13  # transfer functions


@dataclass
class Head:
    """Of a codestream.

    channels: with alpha; loss, odd: why it is lossy or cannot be kept, or None.
    """

    width: int = 0
    height: int = 0
    bits: int = 8
    channels: int = 3
    gamma: float | None = None  # where the samples are not sRGB's
    loss: str | None = None
    odd: str | None = None


def _number(bits, ways):
    added, count = ways[bits.take(2)]
    return added + bits.take(count)


def _sides(bits):
    """(height, width) of a SizeHeader."""
    small = bits.take(1)
    side = (lambda: 8 * (bits.take(5) + 1)) if small else (lambda: _number(bits, SIZES) + 1)
    height, ratio = side(), bits.take(3)
    return height, side() if ratio == 0 else height * RATIOS[ratio - 1][0] // RATIOS[ratio - 1][1]


def _depth(bits):
    """Bits of a sample; None of a number with fractions."""
    if bits.take(1):
        return None
    return _number(bits, ((8, 0), (10, 0), (12, 0), (1, 6)))


def _alpha(bits, head):
    """The one extra channel: what is wrong with it, or None."""
    if bits.take(1):
        return None if head.bits == 8 else "an alpha of other bits than its colours"
    kind, depth, shift = (
        _number(bits, ENUM),
        _depth(bits),
        _number(bits, ((0, 0), (3, 0), (4, 0), (1, 3))),
    )
    bits.take(8 * _number(bits, ((0, 0), (0, 4), (16, 5), (48, 10))))  # its name
    if kind or shift or depth != head.bits:
        return "an extra channel that is no alpha of the colours' bits"
    return "colours premultiplied by alpha" if bits.take(1) else None


def _colours(bits, head):
    """ColourEncoding: gray is told in head; what cannot be kept, or None."""
    if bits.take(1):
        return None
    profile, space = bits.take(1), _number(bits, ENUM)
    head.channels -= 2 * (space == 1)
    if profile or space > 1:
        return "a colour profile, which is not handed over"
    if _number(bits, ENUM) != 1 or space == 0 and _number(bits, ENUM) != 1:
        return "colours of other primaries than sRGB's, which could not be kept"
    if bits.take(1):
        head.gamma = bits.take(24) / 1e7
    elif (transfer := _number(bits, ENUM)) != SRGB:
        if transfer != LINEAR:
            return "colours of another transfer function than sRGB's, which could not be kept"
        head.gamma = 1.0
    _number(bits, ENUM)  # rendering intent
    return None


def read_head(data: bytes) -> Head:
    """The first bytes of a codestream -> Head.  Errors: UnsupportedImage where they end early."""
    bits, head = Bits(data), Head()
    bits.take(16)
    head.height, head.width = _sides(bits)
    if bits.take(1):  # all default
        head.loss = "its colours are XYB"
        return head
    extra = bits.take(1)
    if extra:
        if bits.take(3):
            head.odd = "an orientation, which could not be kept"
        if bits.take(1):
            head.odd = "a size other than its pixels'"
            _sides(bits)
        if bits.take(2):
            head.odd = "an animation or a preview"
            return head
    head.bits = _depth(bits)
    if head.bits not in (8, 16):
        head.odd = f"samples of {head.bits} bits" if head.bits else "samples with fractions"
    bits.take(1)
    count = _number(bits, ((0, 0), (1, 0), (2, 4), (1, 12)))
    if count > 1:
        head.odd = f"{count} extra channels"
        return head
    if count:
        head.channels += 1
        head.odd = _alpha(bits, head) or head.odd
    if bits.take(1):
        head.loss = "its colours are XYB"
        return head
    head.odd = head.odd or _colours(bits, head)
    if not head.odd:
        _frame(bits, head, extra)
    return head


def _frame(bits, head, extra):
    """What lies between the colours and the first frame, and its kind."""
    if extra and not bits.take(1):
        bits.take(16 + 16 + 1 + 16)  # tone mapping
    if bits.take(2) or not bits.take(1):
        head.odd = "extensions or transforms of its own"
        return
    bits.align()
    if bits.take(1) or bits.take(2) or not bits.take(1):
        head.loss = "it is coded by VarDCT, or does not say how"
