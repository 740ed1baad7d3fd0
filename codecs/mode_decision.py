"""The mode decision: which images the prior codes, and which fallback coders are tried.

A single image's file is the smaller of prior and fallback codec; these rules leave out trials that
are unlikely to win.  In an archive they choose for each image, and the whole file is then compared
with one by the fallback codec alone (encoder.py).  A wrong rule costs, as noted below,
    (bytes)     a file larger than it could be: a winner was not tried
    (time)      a slower encoder: a trial for nothing
Smallest images for which a stack can start are in prior_codec.py.  "Training images" means the
output of
    python -m benchmarks.research.mode_thresholds TRAIN TRAIN2
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bitsback.codecs.fallback import webp
from bitsback.codecs.fallback.differences import encode_differences
from bitsback.codecs.fallback.png import encode_png
from bitsback.codecs.image import ImageData, strips

# --- thresholds ------------------------------------------------------------------------------

# An image of more than DRAWING_PIXELS with at most so many colours (gray: grays) is a drawing, for
# which the prior is not tried.  A definition, not fitted: GIF's palette.  Of the middle 128x128 of
# the training images, graphics among them, 95 % have more than 311 colours and 28 grays.  If wrong:
# the prior would have won (bytes).
DRAWING_PIXELS = 128 * 128
DRAWING_COLOURS = 256
DRAWING_GRAYS = 24

# Bits a dimension of a quick WebP between which an image of an archive is assumed to gain from the
# prior.  Training images, 64x64: the prior wins in 48 of 51 crops, with a median of 0.82 to 0.87 of
# the fallback codec's bytes, and takes at most 1.11 times its bytes in the other 3.  From 1.4 to 2
# bits it won too, in few crops; below 1.4 it may lose; above 6 there was none.  Too wide: a few
# images may be a tenth larger (bytes); too narrow: a trial for nothing (time).
PRIOR_LIKELY_BITS = 2.0, 6.0
TRIAL_SIDE = 256  # pixels of the crop that is coded both ways; smaller: a crop unlike the image

# A photograph has at least so many bits a dimension as a quick WebP and so many colours a pixel.
# Training images, graphics among them, 128x128: medians 2.9 bits and 0.14 colours; 48 of 68 pass.
# On these BEST never beat the smaller of QUICK and GOOD.  Too low: a drawing whose best coder is
# not tried (bytes); too high: coders tried in vain (time).
PHOTO_BITS = 1.4
PHOTO_COLOURS = 1 / 16
SAMPLE_PIXELS = 2**15  # of the bands on which colours are counted and coders compared

# PNG and differences are tried on a photograph if they take less than this share of a quick WebP on
# its bands.
# Training photographs, 128x128: PNG takes at least 1.16 of a quick WebP, differences at least 1.03.
# Too low: a winner not tried (bytes); too high: a coder tried in vain (time).
CODER_LOSES = 1.04

# The fallback codec is hopeless if the file has less than HOPELESS_QUICK of a quick WebP's bytes,
# or HOPELESS_GOOD of a GOOD one's in strips.
# Training photographs: the best coder takes at least 0.979 of a quick WebP at 128x128, 0.965 at
# 96x96, 0.897 at 64x64, 0.70 at 8x8.  HOPELESS_QUICK could be 0.95 by these; 0.93 only costs time.
# The best WebP was the smaller of QUICK and GOOD in all 48.  HOPELESS_GOOD leaves a margin for what
# large strips may add, which these small images cannot show: not fitted again.
# Too high: the prior is taken though the fallback codec is smaller (bytes); too low: the fallback
# codec tried in vain (time).
HOPELESS_PIXELS = 96 * 96
HOPELESS_QUICK = 0.93
HOPELESS_GOOD = 0.975


# --- prior or fallback codec -----------------------------------------------------------------


def prior_possible(image: ImageData) -> bool:
    """Whether the prior is worth trying: it codes the image's mode, and it is no large drawing."""
    colour = image.colour
    if colour is None:
        return False
    return image.height * image.width <= DRAWING_PIXELS or not _has_few_colours(colour)


def _has_few_colours(colour):
    if colour.shape[2] == 1:
        counts = sum(np.bincount(rows.ravel(), minlength=256) for rows in strips(colour))
        return np.count_nonzero(counts) <= DRAWING_GRAYS
    seen = np.zeros(2**24, bool)
    for rows in strips(colour):
        r, g, b = (rows[..., i].astype(np.uint32) for i in range(3))
        seen[r << 16 | g << 8 | b] = True
        if np.count_nonzero(seen) > DRAWING_COLOURS:
            return False
    return True


def prior_likely(
    images: list[ImageData],
    prior_bits: Callable[[np.ndarray], np.ndarray],
    fallback: Callable[[np.ndarray], bytes],
) -> list[bool]:
    """Which images of an archive the prior codes, of those for which prior_possible is true.

    An image whose quick WebP is within PRIOR_LIKELY_BITS is assumed to gain; of every other one a
    crop is coded both ways.  prior_bits: (B, H, W, C) uint8 crops -> (B,) bits; fallback: as
    encode_fallback.  Crops of one size are tried together, since an image of 8x8 alone takes nearly
    as long as a hundred.
    """
    likely = [True] * len(images)
    sizes: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for i, image in enumerate(images):
        colour = image.colour
        assert colour is not None  # prior_possible
        quick, (low, high) = webp.webp_size(colour), PRIOR_LIKELY_BITS
        if quick is None or low < 8 * quick / colour.size < high:
            continue
        top, left = (max(0, side - TRIAL_SIDE) // 2 for side in colour.shape[:2])
        crop = colour[top : top + TRIAL_SIDE, left : left + TRIAL_SIDE]
        sizes.setdefault(crop.shape, []).append((i, np.ascontiguousarray(crop)))
    for (height, width, _), crops in sizes.items():
        at_once = max(1, TRIAL_SIDE**2 // (height * width))
        for batch in (crops[begin : begin + at_once] for begin in range(0, len(crops), at_once)):
            bits = prior_bits(np.stack([crop for _, crop in batch]))
            for (i, crop), cost in zip(batch, bits):
                likely[i] = bool(cost < 8 * len(fallback(crop)))
    return likely


def fallback_hopeless(size: int, images: list[np.ndarray]) -> bool:
    """Whether `size` bytes are surely fewer than the fallback codec would need for these samples,
    judged by a quick WebP; False where it must be tried to know.

    Always False for small images, drawings and what WebP cannot store.  A GOOD WebP is made only of
    images larger than webp.STRIP, where a whole BEST one would take much memory.
    """
    if any(
        samples.dtype != np.uint8 or samples.shape[0] * samples.shape[1] < HOPELESS_PIXELS
        for samples in images
    ):
        return False
    sizes = [webp.webp_size(samples) for samples in images]
    quick = [n for n in sizes if n is not None]
    if len(quick) < len(images) or not all(map(photographic, images, quick)):
        return False
    if size < HOPELESS_QUICK * sum(quick):
        return True
    large = any(samples.shape[0] * samples.shape[1] > webp.STRIP for samples in images)
    return (
        large
        and size < sum(quick)
        and size
        < HOPELESS_GOOD * sum(webp.webp_size(samples, webp.GOOD) or 0 for samples in images)
    )


# --- coders of the fallback codec ------------------------------------------------------------


class Coders(NamedTuple):
    """Which coders may win, beside WebP's efforts QUICK and GOOD, which are always tried."""

    differences: bool
    png: bool
    best_webp: bool


def coders_worth_trying(samples: np.ndarray) -> Coders:
    """All coders, but for a large photograph those that do not lose on a part of it.

    samples: (H, W) or (H, W, C) of any dtype.
    """
    if (
        samples.dtype != np.uint8
        or max(samples.shape[:2]) > webp.MAX_SIDE
        or samples.shape[0] * samples.shape[1] < 4 * SAMPLE_PIXELS
    ):
        return Coders(True, True, True)
    bands = _bands(samples)
    quick = webp.webp_size(bands)
    if quick is None or not photographic(bands, quick):
        return Coders(True, True, True)
    limit = CODER_LOSES * quick
    return Coders(len(encode_differences(bands)) < limit, len(encode_png(bands, 8)) < limit, False)


def photographic(samples: np.ndarray, webp_bytes: int) -> bool:
    """Whether uint8 samples whose quick WebP has `webp_bytes` look like a photograph: enough bits
    a dimension and, with several channels, enough colours."""
    bands = _bands(samples)
    pixels = bands.shape[0] * bands.shape[1]
    colours = pixels if bands.ndim == 2 else len(np.unique(bands.reshape(pixels, -1), axis=0))
    return 8 * webp_bytes >= PHOTO_BITS * samples.size and colours >= PHOTO_COLOURS * pixels


def _bands(samples):
    """Four bands of SAMPLE_PIXELS / 4 each at four heights, as one image."""
    rows = max(1, SAMPLE_PIXELS // 4 // samples.shape[1])
    tops = np.arange(1, 8, 2) * (len(samples) - rows) // 8
    return np.concatenate([samples[top : top + rows] for top in tops])
