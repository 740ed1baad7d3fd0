"""What the frames of a JPEG XL part may be (FORMAT.md, section 7.4), read before they are decoded.

Fields are those of FrameHeader and of the table of contents in ISO/IEC 18181-1, in their order.
"""

from tests.second_decoder.errors import check

REGULAR, REFERENCE_ONLY = 0, 2
FLAGS = 2 | 128  # kPatches, kSkipAdaptiveDCSmoothing
MOST_REFERENCES, SPARE, ENTRY = 4, 2**16, 12
SIDES = (8, 0), (11, 256), (14, 2304), (30, 18688)  # of a crop
SIZES = (10, 0), (14, 1024), (22, 17408), (30, 4211712)  # of an entry


class Bits:
    """Taken from the low bits of each byte."""

    def __init__(self, data):
        self.data, self.place = data, 0

    @property
    def left(self):
        return 8 * len(self.data) - self.place

    def u(self, count):
        check(count <= self.left, "a frame is cut short")
        end = self.place + count
        whole = int.from_bytes(self.data[self.place // 8 : (end + 7) // 8], "little")
        value = whole >> self.place % 8 & (1 << count) - 1
        self.place = end
        return value

    def u32(self, *ways):
        """ways: four of (bits, what is added to them)."""
        bits, offset = ways[self.u(2)]
        return self.u(bits) + offset

    def u64(self):
        way = self.u(2)
        if way < 3:
            return (0, 1, 17)[way] + self.u((0, 4, 8)[way])
        value, shift = self.u(12), 12
        while self.u(1):
            count = 8 if shift < 60 else 4
            value |= self.u(count) << shift
            shift += count
            if shift > 60:
                break
        return value

    def to_byte(self):
        self.u(-self.place % 8)


def check_frames(data, shape):
    """data: frames; shape: (H, W, C) of the image."""
    bits, references = Bits(data), 0
    while frame(bits, shape) == REFERENCE_ONLY:
        references += 1
        check(references <= MOST_REFERENCES, "too many frames")


def frame(bits, shape):
    """Its type; of a reference the bits go on after its sections."""
    height, width, channels = shape
    extra = channels in (2, 4)
    check(bits.u(1) == 0, "a frame of defaults, which is not modular")
    kind = bits.u(2)
    check(kind in (REGULAR, REFERENCE_ONLY), "a frame of another type")
    check(bits.u(1) == 1, "a frame that is not modular")
    check(bits.u64() & ~FLAGS == 0, "flags of a frame")
    check(bits.u(1) == 0, "a frame in YCbCr")
    for _ in range(1 + extra):
        check(bits.u(2) == 0, "an upsampled frame")
    group = 128 << bits.u(2)
    if kind == REGULAR:
        check(bits.u(2) == 0, "several passes")
    if bits.u(1):
        check(kind == REFERENCE_ONLY, "a cropped frame")
        width, height = bits.u32(*SIDES), bits.u32(*SIDES)
    if kind == REGULAR:
        for _ in range(1 + extra):
            check(bits.u(2) == 0, "a blended frame")
        check(bits.u(1) == 1, "a frame after the regular one")
    else:
        bits.u(2)  # save_as_reference
        bits.u(1)  # save_before_color_transform
    check(bits.u(2) == 0, "a frame with a name")
    check(bits.u(1) == 0 and bits.u(1) == 0 and bits.u(2) == 0, "a restoration filter")
    check(bits.u64() == 0 and bits.u64() == 0, "extensions of a frame")
    check(0 < width * height <= shape[0] * shape[1] + SPARE, "the pixels of a frame")
    count = entries(height, width, group)
    permuted = bits.u(1)
    check(bits.left >= ENTRY * count, "a table of contents that is cut short")
    if kind == REFERENCE_ONLY:
        check(not permuted, "a reference's table of contents is permuted")
        bits.to_byte()
        size = sum(bits.u32(*SIZES) for _ in range(count))
        bits.to_byte()
        check(8 * size <= bits.left, "a frame is cut short")
        bits.place += 8 * size
    return kind


def entries(height, width, group):
    """Of the table of contents."""
    groups = -(-height // group) * -(-width // group)
    return 1 if groups == 1 else 2 + groups + -(-height // (8 * group)) * -(-width // (8 * group))
