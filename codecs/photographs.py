"""Photographs: how samples are judged by bands of them, and what JPEG XL would take, estimated."""

from collections.abc import Callable, Sequence

import numpy as np

from bitsback.beside import Beside, later
from bitsback.codecs.fallback import jxl

# A photograph has at least so many bits a dimension as a quick WebP and so many colours a pixel.
# Training images, graphics among them, 128x128: medians 2.9 bits and 0.14 colours; 48 of 68 pass.
# On these BEST never beat the smaller of QUICK and GOOD.  Too low: a drawing whose best coder is
# not tried (bytes); too high: coders tried in vain (time).
PHOTO_BITS = 1.4
PHOTO_COLOURS = 1 / 16
SAMPLE_PIXELS = 2**15  # of the bands on which colours are counted and coders compared

# The estimate of JPEG XL: a quick JPEG XL of all, times usual by quick JPEG XL of ESTIMATE_BANDS
# bands with ESTIMATE_SHARE of the pixels, at most ESTIMATE_MOST.
ESTIMATE_PIXELS = 96 * 96  # of an image of which there is one
ESTIMATE_BANDS, ESTIMATE_SHARE, ESTIMATE_MOST = 8, 1 / 8, 2**20


def photographic(samples: np.ndarray, quick_bytes: int) -> bool:
    """Whether uint8 samples whose quick WebP or JPEG XL has `quick_bytes` look like a photograph:
    enough bits a dimension and, with several channels, enough colours."""
    some = bands(samples)
    pixels = some.shape[0] * some.shape[1]
    colours = pixels if some.ndim == 2 else _colours(some)
    return 8 * quick_bytes >= PHOTO_BITS * samples.size and colours >= PHOTO_COLOURS * pixels


def _colours(samples):
    """How many different colours (H, W, C) uint8 have."""
    numbers = np.zeros(samples.shape[:2], np.uint32)
    for c in range(samples.shape[2]):  # at most four channels
        numbers = numbers << 8 | samples[..., c]
    return len(np.unique(numbers))


def bands(samples: np.ndarray, pixels: float = 0.0) -> np.ndarray:
    """Four bands of SAMPLE_PIXELS / 4 each at four heights, as one image; of more pixels, twice as
    many."""
    count = 4 if pixels <= SAMPLE_PIXELS else ESTIMATE_BANDS
    rows = max(1, int(max(SAMPLE_PIXELS, pixels)) // count // samples.shape[1])
    tops = np.arange(1, 2 * count, 2) * (len(samples) - rows) // (2 * count)
    return np.concatenate([samples[top : top + rows] for top in tops])


def estimate_of_jxl(
    images: Sequence[np.ndarray], beside: Beside = later
) -> Callable[[], float | None]:
    """Begins to estimate what JPEG XL would take for these samples; the function returns the bytes.

    None where there is no telling: for small images, drawings and samples of more than 8 bits.
    Errors: MissingPackage.
    """
    begun = []
    for samples in images:
        pixels = samples.shape[0] * samples.shape[1]
        if samples.dtype != np.uint8 or pixels < ESTIMATE_PIXELS:
            return lambda: None
        some = bands(samples, min(ESTIMATE_SHARE * pixels, ESTIMATE_MOST))
        quick = [beside(jxl.jxl_size, part) for part in jxl.parts(samples)]
        ways = [beside(jxl.jxl_size, some, effort) for effort in (jxl.USUAL, jxl.QUICK)]
        begun.append((samples, quick, ways))

    def estimated() -> float | None:
        total = 0.0
        for samples, quick, (usual, less) in begun:
            size = sum(part() for part in quick)
            if not photographic(samples, size):
                return None
            total += size * usual() / less()
        return total

    return estimated
