"""What a file says of its images before the payload: the header, as an object.

The form of an image is one byte: the low 5 bits its mode, the high 3 the kind of file it came from.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from bitsback.codecs.bitstream import depths
from bitsback.codecs.bitstream.depths import Deep
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.image import DEEP, GRAYS, MAYBE_GRAY, MODES
from bitsback.errors import DamagedFile

# Kinds of files that an image came from; "" stands for all others.
SOURCES = ("PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "", "JPEG")
# Forms beyond those of the modes: RGB and RGBA whose three colours are equal in every pixel.
GRAY_AS_RGB = {mode: len(MODES) + i for i, mode in enumerate(sorted(MAYBE_GRAY))}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: size in pixels, mode, kind of file it came from.

    In an archive also: name, permissions, modification time (s) and a 16-bit checksum.
    gray_as_rgb: the mode has three colours, which are equal and lie under the prior as one channel.
    """

    width: int
    height: int
    name: str = ""
    permissions: int = 0o644
    check: int = 0
    mode: str = "RGB"
    source: str = "PNG"
    mtime: int = 0
    gray_as_rgb: bool = False

    @property
    def dims(self) -> int:
        """Samples."""
        return MODES[self.mode][1] * self.width * self.height

    @property
    def form(self) -> int:
        """The byte that stores mode, source and gray_as_rgb."""
        mode = GRAY_AS_RGB[self.mode] if self.gray_as_rgb else list(MODES).index(self.mode)
        source = self.source if self.source in SOURCES else ""
        return mode | SOURCES.index(source) << 5


def read_form(form: int) -> dict:
    """{mode, source, gray_as_rgb} of a form.  Errors: DamagedFile."""
    modes = [*MODES, *GRAY_AS_RGB]
    if type(form) is not int or not 0 <= form < 256 or form & 31 >= len(modes):
        raise DamagedFile("an unknown mode")
    gray_as_rgb = form & 31 >= len(MODES)
    return {"mode": modes[form & 31], "source": SOURCES[form >> 5], "gray_as_rgb": gray_as_rgb}


class LaneRule(NamedTuple):
    """How many lanes are open: one for each `samples` that were coded, at most `most`."""

    samples: int = 1
    most: int = 1

    def count(self, coded: int) -> int:
        """While a segment is coded; coded: samples of it and of the segments before."""
        return max(1, min(self.most, coded // self.samples))


@dataclass(frozen=True)
class Header:
    """All a decoder needs besides the payload.

    entries: the images in the order of coding; metadata: bit i is set where the fallback parts hold
    an item that is metadata.KINDS[i]; lost: names of what the source files had and is not kept;
    sections: {tag: bytes} of side information (sections.py).

    With a stack: model: the first 16 hex digits of its id; credit_bytes: length of the fallback
    parts that the stack started from; fallback_count: how many images lie in them; flips: how the
    others were turned (1 left-right, 2 upside down); start: (image, rows, columns) where the
    segments begin, counted from the first image under the prior; lanes: how many are open for a
    segment; segments: (kind, size) in the order of coding (segment_layout.py); top: mean32 and
    scale of the noisiest level for R, G, B.
    """

    entries: tuple[Entry, ...]
    digest: bytes
    archive: bool = False
    metadata: int = 0
    lost: tuple[str, ...] = ()
    sections: dict[int, bytes] = field(default_factory=dict)
    model: str = ""
    credit_bytes: int = 0
    fallback_count: int = 0
    flips: int = 0
    start: tuple[int, int, int] = (0, 0, 0)
    lanes: LaneRule = LaneRule()
    segments: tuple[tuple[int, int], ...] = ()
    top: tuple[int, ...] = ()
    payload_bytes: int = field(default=0, compare=False)  # not stored: the container knows it

    @property
    def width(self) -> int:
        return self.entries[0].width

    @property
    def height(self) -> int:
        return self.entries[0].height

    @property
    def dims(self) -> int:
        """Samples of all images."""
        return sum(entry.dims for entry in self.entries)

    @property
    def sizes(self) -> list[tuple[int, int, int]]:
        """(height, width, channels) of the images under the prior, alpha not counted."""
        under_prior = self.entries[self.fallback_count :]
        return [
            (e.height, e.width, 1 if e.mode in GRAYS or e.gray_as_rgb else 3) for e in under_prior
        ]

    @property
    def colours(self) -> list[int]:
        """Samples a pixel of the images under the prior, alpha not counted: 3 where three equal
        channels are coded as one."""
        return [1 if e.mode in GRAYS else 3 for e in self.entries[self.fallback_count :]]

    @property
    def net_bits(self) -> int:
        """Bits by which the segments let the stack grow; 0 without a stack."""
        credit = self.credit_bytes + -self.credit_bytes % 4  # in whole words
        return 8 * (self.payload_bytes - credit) if self.model else 0

    def section(self, tag: int) -> bytes:
        """A section's bytes, empty where there is none."""
        return self.sections.get(tag, b"")

    @property
    def sharpness(self) -> int:
        """Number of the sharpness with which colours are counted; 0 where they are not."""
        return int.from_bytes(self.section(Tag.SHARPNESS), "little")

    @property
    def depths(self) -> list[Deep | None]:
        """Of each image under the prior, None for 8 bits.  Errors: DamagedFile."""
        deep = [entry.mode in DEEP for entry in self.entries[self.fallback_count :]]
        found = iter(depths.unpack(self.section(Tag.DEPTH), sum(deep)))
        return [next(found) if one else None for one in deep]

    @property
    def remainder_bytes(self) -> int:
        """Bytes of all remainders, 0 without a stack."""
        return sum(deep.remainder_bytes for deep in self.depths if deep) if self.model else 0

    @property
    def side_bytes(self) -> int:
        """Bytes of all side information, without tags and lengths."""
        return sum(map(len, self.sections.values()))
