"""A still image in memory: samples as they were stored, what gives them their look, and metadata.

mode      samples                       kept beside them (`look`)
RGB       (H, W, 3) uint8               transparency: one colour of three numbers
P         (H, W) uint8, indices         palette: bytes of RGB; palette_alpha: bytes; transparency
1         (H, W) uint8, 0 or 1          transparency
I;16      (H, W) uint16                 transparency
RGBA;16   (H, W, 4) uint16              modes that Pillow does not have
F         (H, W) float32, bit for bit
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bitsback.errors import UnsupportedImage

MODES = {  # name: (dtype, channels); the place in this list is the code in a file
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
STRIP = 2**22  # samples worked on at once where a whole image's would take memory
GRAYS = {"L", "LA"}  # one channel under the prior
UNDER_PRIOR = {"RGB", "RGBA"} | GRAYS


def shape_of(mode: str, height: int, width: int) -> tuple:
    """The shape of an image's samples."""
    channels = MODES[mode][1]
    return (height, width) if channels == 1 else (height, width, channels)


def strips(samples):
    """Views of a few rows each that make up (H, W, ...) samples: what is worked out of them takes little memory, however large the image."""
    rows = max(1, STRIP // (samples.size // len(samples)))
    return [samples[top : top + rows] for top in range(0, len(samples), rows)]


def same_samples(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays hold the same bytes in the same shape: NaNs too, a byte order apart not."""
    return (
        a.shape == b.shape
        and a.dtype.itemsize == b.dtype.itemsize
        and all(
            np.array_equal(*(np.ascontiguousarray(part).view(np.uint8) for part in pair))
            for pair in zip(strips(a), strips(b))
        )
    )


@dataclass(frozen=True, eq=False)
class ImageData:
    """One image.  samples: as MODES says; look: palette and transparency; metadata: see metadata.py.

    source: Pillow's name of the kind of file it came from, for `info`; lost: names of what that file
    had and is not kept here, so that it can be told.  Errors: UnsupportedImage.
    """

    mode: str
    samples: np.ndarray
    look: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    source: str = ""
    lost: tuple = ()

    def __post_init__(self):
        if self.mode not in MODES:
            raise UnsupportedImage(f"mode {self.mode} is not known")
        if not isinstance(self.samples, np.ndarray):
            raise UnsupportedImage(f"samples are a numpy array, not {type(self.samples).__name__}")
        shape, dtype = self.samples.shape, np.dtype(MODES[self.mode][0])
        if (
            self.samples.dtype != dtype
            or len(shape) < 2
            or shape != shape_of(self.mode, *shape[:2])
            or 0 in shape
        ):
            raise UnsupportedImage(
                f"mode {self.mode} needs samples of shape {shape_of(self.mode, 'H', 'W')} and {dtype}".replace(
                    "'", ""
                )
            )
        if self.mode == "1" and self.samples.max() > 1:
            raise UnsupportedImage("mode 1 has samples of 0 and 1")

    @property
    def height(self) -> int:
        return self.samples.shape[0]

    @property
    def width(self) -> int:
        return self.samples.shape[1]

    @cached_property
    def alike(self) -> bool:
        """Whether the three colours of an RGB or RGBA image are the same everywhere: a gray image stored as a coloured one."""
        return self.mode in UNDER_PRIOR - GRAYS and all(
            (rows[..., :2] == rows[..., 1:3]).all() for rows in strips(self.samples)
        )

    @property
    def colour(self):
        """(H, W, 3) uint8 for the prior, (H, W, 1) where all is gray, or None where it does not code the mode."""
        if self.mode not in UNDER_PRIOR:
            return None
        return self.samples.reshape(self.height, self.width, -1)[
            ..., : 1 if self.mode in GRAYS or self.alike else 3
        ]

    @property
    def alpha(self):
        """(H, W) uint8 beside `colour`, or None."""
        return self.samples[..., -1] if self.mode in ("RGBA", "LA") else None

    def stripped(self) -> ImageData:
        """The same image without metadata, and nothing is told as lost; its look stays."""
        return replace(self, metadata={}, lost=())


def joined(mode: str, colour: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """The mirror of `colour` and `alpha`: samples (H, W) to (H, W, 4) uint8."""
    if mode not in GRAYS and colour.shape[2] == 1:
        colour = np.repeat(colour, 3, 2)
    return (
        (colour[..., 0] if mode == "L" else colour) if alpha is None else np.dstack([colour, alpha])
    )


def same(a: ImageData, b: ImageData) -> bool:
    """Whether two images are equal in every bit that is kept: mode, samples (NaNs too), look, metadata."""
    return (
        a.mode == b.mode
        and same_samples(a.samples, b.samples)
        and a.look == b.look
        and a.metadata == b.metadata
    )


def with_whole_palette(image: ImageData) -> ImageData:
    """Indices beyond the palette, which every reader shows as black, get an entry of black: else
    Pillow's PNG writer cuts them to the palette's bits.
    """
    palette = image.look.get("palette")
    if image.mode != "P" or palette is None or "palette_alpha" in image.look:
        return image
    needed = 3 * (int(image.samples.max()) + 1)
    if len(palette) >= needed:
        return image
    return replace(image, look={**image.look, "palette": palette.ljust(needed, b"\0")})
