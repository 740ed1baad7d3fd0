"""The frames of a JPEG XL codestream, checked before libjxl decodes them.

A lossless still is one modular frame that covers the image.  Before it there may be frames that
are not shown: atlases, from which the last frame takes its patches (repeated letters).  An atlas
has a size of its own, which libjxl allocates, so it is read here; to find the frame after it, so is
its table of contents (ISO/IEC 18181-1, FrameHeader and TOC).  All that would make decoding depend
on floating-point numbers is refused: VarDCT, filters, upsampling, noise, splines, blending.
"""

from typing import NamedTuple

from bitsback.codecs.bitstream.bits import Bits
from bitsback.codecs.fallback.jxl_head import u32
from bitsback.errors import UnsupportedImage

REGULAR, REFERENCE_ONLY = 0, 2
PATCHES, SKIP_SMOOTHING = 2, 128  # flags; the second concerns VarDCT alone
CROP = ((0, 8), (256, 11), (2304, 14), (18688, 30))  # U32: (offset, bits) of its four ways
SECTION = ((0, 10), (1024, 14), (17408, 22), (4211712, 30))
SECTION_BITS = 12  # of the shortest entry in a table of contents
MAX_FRAMES = 5  # an atlas for each of the four references, and the image
SPARE = 2**16  # pixels that an atlas may have more than the image


class Frame(NamedTuple):
    """What a frame header says.  group: side of a group of pixels."""

    kind: int
    height: int
    width: int
    group: int


def _refuse(unless, what):
    if not unless:
        raise ValueError(f"JPEG XL with {what}")


def _flags(bits):
    """U64, less than 273."""
    way = bits.take(2)
    _refuse(way < 3, "unknown flags")
    return (0, 1, 17)[way] + bits.take((0, 4, 8)[way])


def _frame_header(bits, height, width, extra):
    """Frame of a codestream without XYB, animation or preview.  extra: number of channels that are
    not colours."""
    _refuse(not bits.take(1), "VarDCT")  # all default
    kind = bits.take(2)
    _refuse(kind in (REGULAR, REFERENCE_ONLY), "a frame of unknown kind")
    _refuse(bits.take(1), "VarDCT")
    _refuse(not _flags(bits) & ~(PATCHES | SKIP_SMOOTHING), "noise, splines or a second frame")
    _refuse(not bits.take(1), "YCbCr")
    _refuse(not bits.take(2 * (1 + extra)), "upsampling")
    group = 128 << bits.take(2)
    if kind == REGULAR:
        _refuse(not bits.take(2), "several passes")
        _refuse(not bits.take(1), "a crop")
        _refuse(not bits.take(2 * (1 + extra)), "blending")
        _refuse(bits.take(1), "several frames")
    else:
        if bits.take(1):
            width, height = u32(bits, CROP), u32(bits, CROP)
        bits.take(2 + 1)  # number of the reference; before or after a transform of colours
    _refuse(not bits.take(2), "a name")
    _refuse(not bits.take(1 + 1 + 2 + 2), "filters")  # not default, gab, epf, extensions
    _refuse(not bits.take(2), "extensions")
    return Frame(kind, height, width, group)


def _sections(frame):
    """Entries of the table of contents: one for a single group, else also two global ones and one
    for each 8x8 groups."""
    counts = [
        -(-frame.height // side) * -(-frame.width // side)
        for side in (frame.group, 8 * frame.group)
    ]
    return 1 if counts[0] == 1 else 2 + sum(counts)


def _image_frame(data, position, height, width, extra):
    """(bits at the table of contents, number of its entries) of the image's frame, the last one,
    after the checks of check_frames."""
    for _ in range(MAX_FRAMES):
        bits = Bits(data)
        bits.position = 8 * position
        frame = _frame_header(bits, height, width, extra)
        _refuse(frame.height and frame.width, "an empty frame")
        _refuse(frame.height * frame.width <= height * width + SPARE, "a larger frame")
        count = _sections(frame)
        _refuse(SECTION_BITS * count <= 8 * len(data) - bits.position, "too little data")
        if frame.kind == REGULAR:
            return bits, count
        position = _after(bits, count)
    raise ValueError("JPEG XL with too many frames")


def _after(bits, count):
    """The byte position after a frame of `count` sections, whose table of contents is next."""
    _refuse(not bits.take(1), "a frame out of order")
    bits.align()
    sizes = [u32(bits, SECTION) for _ in range(count)]
    bits.align()
    return bits.position // 8 + sum(sizes)


def check_frames(data: bytes, position: int, height: int, width: int, extra: int) -> None:
    """Refuses what is no lossless still of this size, and what would take more memory than that.

    data: a codestream whose first frame begins at byte `position`; extra: its channels that are no
    colours.  Errors: ValueError; UnsupportedImage where a frame ends too early.
    """
    _image_frame(data, position, height, width, extra)


def end_of_frames(data: bytes, position: int, height: int, width: int, extra: int) -> int | None:
    """The byte position after the image's frame, None where a frame is not as check_frames wants
    it; parameters as there.
    """
    try:
        return _after(*_image_frame(data, position, height, width, extra))
    except (ValueError, UnsupportedImage):
        return None
