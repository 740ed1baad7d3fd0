"""One image in memory: its samples as stored in its file, palette and transparency, metadata.

mode      samples                       stored beside them in `look`
RGB       (H, W, 3) uint8               transparency: one colour of three integers
P         (H, W) uint8, indices         palette: bytes of RGB; palette_alpha: bytes; transparency
1         (H, W) uint8, 0 or 1          transparency
I;16      (H, W) uint16                 transparency
RGBA;16   (H, W, 4) uint16              (a mode that Pillow does not have)
F         (H, W) float32, bit for bit
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bitsback.codecs.depth import Depth, find_depth
from bitsback.codecs.display_png import display_png
from bitsback.errors import UnsupportedImage

MODES = {  # name: (dtype, channels); a mode's position in this dict is its code in a file
    "RGB": ("u1", 3),
    "RGBA": ("u1", 4),
    "L": ("u1", 1),
    "LA": ("u1", 2),
    "P": ("u1", 1),
    "1": ("u1", 1),
    "I;16": ("<u2", 1),
    "RGB;16": ("<u2", 3),
    "RGBA;16": ("<u2", 4),
    "LA;16": ("<u2", 2),
    "CMYK": ("u1", 4),
    "YCbCr": ("u1", 3),
    "LAB": ("u1", 3),
    "HSV": ("u1", 3),
    "I": ("<i4", 1),
    "F": ("<f4", 1),
    "PA": ("u1", 2),
    "RGBX": ("u1", 4),
    "RGBa": ("u1", 4),
    "La": ("u1", 2),
    "I;16B": ("<u2", 1),
}
DAMAGED = {"IDAT (wrong checksum)", "damaged parts", "data outside the image"}  # in `lost`
PALETTES = ("palette", "palette_alpha")  # in `look`
STRIP = 2**22  # samples of a strip: a computation's memory does not depend on the image's size
# Modes that the prior can code.  Of the DEEP ones it codes the upper bits (remainders/ codes the
# others), of the GRAYS one channel.
DEEP = {"I;16", "I;16B", "RGB;16", "RGBA;16", "LA;16"}
GRAYS = {"L", "LA", "I;16", "I;16B", "LA;16"}
MAYBE_GRAY = {"RGB", "RGBA"}  # where one channel is enough if all three are equal
UNDER_PRIOR = MAYBE_GRAY | GRAYS | DEEP
WITH_ALPHA = {"RGBA", "LA", "RGBA;16", "LA;16"}  # modes of those


def shape_of(mode: str, height: int, width: int) -> tuple[int, ...]:
    """The shape of an image's samples: (H, W) or (H, W, channels)."""
    channels = MODES[mode][1]
    return (height, width) if channels == 1 else (height, width, channels)


def strips(samples: np.ndarray) -> list[np.ndarray]:
    """Views of (H, W, ...) samples that partition the rows, STRIP samples each or one row."""
    rows = max(1, STRIP // (samples.size // len(samples)))
    return [samples[top : top + rows] for top in range(0, len(samples), rows)]


def _same_bytes(a, b):
    return np.array_equal(
        np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)
    )


def same_samples(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same shape and bytes, so that equal NaNs match."""
    return (
        a.shape == b.shape
        and a.dtype.itemsize == b.dtype.itemsize
        and all(_same_bytes(*pair) for pair in zip(strips(a), strips(b)))
    )


@dataclass(frozen=True, eq=False)
class ImageData:
    """One image.  samples: see MODES; look: palette and transparency; metadata: see metadata.py.

    >>> image = ImageData("L", np.arange(6, dtype=np.uint8).reshape(2, 3))
    >>> image.height, image.width, image.colour.shape
    (2, 3, (2, 3, 1))

    source: Pillow's name of the input's format, shown by `info`; lost: names of metadata in the
    input that are not kept, for reports to the user.  Errors: UnsupportedImage for samples that do
    not fit the mode.
    """

    mode: str
    samples: np.ndarray
    look: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    source: str = ""
    lost: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnsupportedImage(f"mode {self.mode} is not known")
        if not (isinstance(self.look, dict) and isinstance(self.metadata, dict)):
            raise UnsupportedImage("look and metadata are dictionaries")
        if not all(isinstance(self.look.get(key, b""), bytes) for key in PALETTES):
            raise UnsupportedImage("invalid look: palette and palette_alpha are bytes")
        if "" in self.lost:
            raise UnsupportedImage("lost: a name is empty")
        # a mask would be lost, and rows of a matrix are matrices again
        other = isinstance(self.samples, np.ma.MaskedArray | np.matrix)
        if other or not isinstance(self.samples, np.ndarray):
            raise UnsupportedImage(f"samples are a numpy array, not {type(self.samples).__name__}")
        shape, dtype = self.samples.shape, np.dtype(MODES[self.mode][0])
        if (
            self.samples.dtype != dtype
            or len(shape) < 2
            or shape != shape_of(self.mode, *shape[:2])
            or 0 in shape
        ):
            wanted = "(H, W)" if MODES[self.mode][1] == 1 else f"(H, W, {MODES[self.mode][1]})"
            told = f"needs {dtype} of shape {wanted}, not {self.samples.dtype} of shape {shape}"
            raise UnsupportedImage(f"mode {self.mode} {told}")
        if self.mode == "1" and self.samples.max() > 1:
            raise UnsupportedImage("mode 1 has samples of 0 and 1")

    @property
    def height(self) -> int:
        return self.samples.shape[0]

    @property
    def width(self) -> int:
        return self.samples.shape[1]

    @cached_property
    def gray_as_rgb(self) -> bool:
        """Whether the image is RGB or RGBA and red, green and blue are equal at every pixel."""
        return self.mode in MAYBE_GRAY and all(
            (rows[..., :2] == rows[..., 1:3]).all() for rows in strips(self.samples)
        )

    @cached_property
    def depth(self) -> Depth | None:
        """How the colours of a DEEP mode use their 16 bits; None for other modes."""
        if self.mode not in DEEP:
            return None
        return find_depth(self._colours())

    def _colours(self) -> np.ndarray:
        """(H, W, C) samples without alpha; one channel of gray ones."""
        channels = 1 if self.mode in GRAYS or self.gray_as_rgb else 3
        return self.samples.reshape(self.height, self.width, -1)[..., :channels]

    @property
    def numbers(self) -> np.ndarray | None:
        """(H, W, 3 or 1) uint16, the colours of a DEEP mode as numbers of `depth`, else None."""
        return None if self.depth is None else self.depth.numbers(self._colours())

    @cached_property
    def colour(self) -> np.ndarray | None:
        """What the prior codes: (H, W, 3) uint8, or (H, W, 1) for gray images.

        The colours, or the coarse plane of a DEEP mode.  None where the prior does not code the
        mode.
        """
        numbers = self.numbers
        if self.depth is not None and numbers is not None:
            coarse: np.ndarray = numbers >> self.depth.remainder_bits
            return coarse.astype(np.uint8)
        return self._colours() if self.mode in UNDER_PRIOR else None

    @property
    def alpha(self) -> np.ndarray | None:
        """(H, W) uint8 or uint16, the alpha plane of a mode WITH_ALPHA, else None."""
        return self.samples[..., -1] if self.mode in WITH_ALPHA else None

    @property
    def shown(self) -> np.ndarray | None:
        """(H, W) or (H, W, 3 or 4) uint8, as screens show it; None for modes of no plain colours.

        Palettes are looked up, 16 bits cut to the upper 8 of those in use.
        """
        if self.mode == "1":
            return self.samples * np.uint8(255)
        if self.mode == "P" and "palette" in self.look:
            colours = np.frombuffer(self.look["palette"].ljust(768, b"\0")[:768], np.uint8)
            colours, alpha = colours.reshape(256, 3), self.look.get("palette_alpha")
            if alpha is not None:
                column = np.frombuffer(alpha.ljust(256, b"\xff")[:256], np.uint8)
                colours = np.column_stack([colours, column])
            return colours[self.samples]
        shown = self.samples
        if self.mode in DEEP:
            colours = shown if self.alpha is None else shown[..., :-1]
            lower = max(0, int(colours.max()).bit_length() - 8)
            shown = (colours >> lower).astype(np.uint8)
            if self.alpha is not None:
                shown = np.dstack([shown, (self.alpha >> 8).astype(np.uint8)])
        elif self.mode not in ("RGB", "RGBA", "L", "LA", "P"):
            return None
        return shown[..., [0, 0, 0, 1]] if shown.shape[2:] == (2,) else shown

    def _repr_png_(self) -> bytes | None:
        """The image as notebooks show it, in 8 bits; None where `shown` is."""
        shown = self.shown
        return None if shown is None else display_png(shown)

    def stripped(self) -> ImageData:
        """The same image without metadata and names of lost ones; `look` and DAMAGED are kept."""
        return replace(self, metadata={}, lost=tuple(n for n in self.lost if n in DAMAGED))


def joined(mode: str, colour: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """The inverse of `colour` and `alpha`: an image's samples, (H, W) to (H, W, 4).

    colour: uint8, or uint16 samples of a DEEP mode; alpha: of the same type.
    """
    if mode not in GRAYS and colour.shape[2] == 1:
        colour = np.repeat(colour, 3, 2)
    if alpha is not None:
        return np.dstack([colour, alpha])
    return colour[..., 0] if mode in GRAYS else colour


def same(a: ImageData, b: ImageData) -> bool:
    """Whether two images have the same mode, samples (NaNs included), look and metadata."""
    return (
        a.mode == b.mode
        and same_samples(a.samples, b.samples)
        and a.look == b.look
        and a.metadata == b.metadata
    )


def with_whole_palette(image: ImageData) -> ImageData:
    """The image with black palette entries for indices beyond its palette.

    Readers show such indices as black; Pillow's PNG writer would truncate them.
    """
    palette = image.look.get("palette")
    if image.mode != "P" or palette is None or "palette_alpha" in image.look:
        return image
    needed = 3 * (int(image.samples.max()) + 1)
    if len(palette) >= needed:
        return image
    return replace(image, look={**image.look, "palette": palette.ljust(needed, b"\0")})
