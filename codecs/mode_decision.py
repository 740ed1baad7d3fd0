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

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bitsback.codecs import photographs
from bitsback.codecs.fallback import jxl, webp
from bitsback.codecs.fallback.differences import encode_differences
from bitsback.codecs.fallback.png import encode_png
from bitsback.codecs.image import ImageData, strips
from bitsback.codecs.photographs import ESTIMATE_SHARE, bands, estimate_of_jxl, photographic

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

# The prior is not tried on a large image that is no photograph if it takes PRIOR_LOSES of the
# fallback codec's bytes on TRIAL_CROPS^2 crops, which lose what repeats in the whole image.
# Too low: the prior would have won (bytes); too high: the prior tried in vain (time).
PRIOR_LOSES = 1.15
TRIAL_CROPS, CROP_SIDE = 2, 128

# PNG and differences are tried on a photograph if they take less than this share of a quick WebP on
# its bands.
# Training photographs, 128x128: PNG takes at least 1.16 of a quick WebP, differences at least 1.03.
# Too low: a winner not tried (bytes); too high: a coder tried in vain (time).
CODER_LOSES = 1.04

# Differences, and PNG of gray, are tried on large samples of 2 and 4 bytes if they take less than
# this share of JPEG XL on bands.  Of six images of valid/, halved to 16 bits (benchmarks/kinds.py),
# differences take 1.025 to 1.065, PNG 1.137 to 1.187; drawn ones may take 0.15.
# Too low: a winner not tried (bytes); too high: a coder tried in vain (time).
DEEP_LOSES = {"differences": 1.02, "png": 1.1}

# More of WebP's effort takes at least this share of an effort's bytes; of photographs, and of
# other images.  So more is tried only where it may beat what is there.  Of the latter BEST took
# 0.847 of GOOD (formats/simple.webp, once a lossy WebP), GOOD 0.807 of QUICK (a gradient); of
# photographs after lossy WebP and JPEG (three of valid/, 400x400) BEST took 0.986 of the others.
# Too high: a winner not tried (bytes); too low: an effort in vain (time).
WEBP_EFFORTS = ((webp.QUICK, 0.9, 0.6), (webp.GOOD, 0.97, 0.75), (webp.BEST, 1.0, 1.0))

# The fallback codec is hopeless if the file has less than HOPELESS of the estimate of JPEG XL
# (photographs.py), or HOPELESS_LARGE where each image has LARGE pixels.  Else JPEG XL codes the
# whole image, and the smaller file is taken.  Of 196 photographs (kodak, valid, every 7th of
# train2, 6th of train) JPEG XL takes 0.937 to 1.029 of the estimate, of two photographs of 2.5 and
# 2.8 megapixels, their quarters and 24 crops of LARGE pixels or more 0.972 to 1.001; the smallest
# WebP takes at least 0.96 of JPEG XL.  An estimate takes 0.3 s a megapixel, JPEG XL of all 1.6 s.
# Too high: the prior is taken though the fallback codec is smaller (bytes); too low: the fallback
# codec tried in vain (time).
HOPELESS, HOPELESS_LARGE, LARGE = 0.92, 0.95, 2**19
MOST_SAVES = 0.96  # what libjxl's most effort takes of the usual one


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


def prior_hopeless(
    colour: np.ndarray,
    prior_bits: Callable[[np.ndarray], np.ndarray],
    fallback: Callable[[np.ndarray], bytes],
) -> bool:
    """Whether the prior surely loses on (H, W, C) uint8: on crops of a large image that is no
    photograph.  prior_bits, fallback: as prior_likely's."""
    height, width = colour.shape[:2]
    if height * width < 4 * (TRIAL_CROPS * CROP_SIDE) ** 2 or min(height, width) < CROP_SIDE:
        return False
    some = bands(colour, ESTIMATE_SHARE * height * width)
    if photographic(some, jxl.jxl_size(some)):
        return False
    tops, lefts = (
        [(side - CROP_SIDE) * i // (TRIAL_CROPS + 1) for i in range(1, TRIAL_CROPS + 1)]
        for side in (height, width)
    )
    crops = [colour[top:, left:][:CROP_SIDE, :CROP_SIDE] for top in tops for left in lefts]
    taken = sum(len(fallback(np.ascontiguousarray(crop))) for crop in crops)
    return float(prior_bits(np.stack(crops)).sum()) > PRIOR_LOSES * 8 * taken


def fallback_hopeless(
    size: int,
    images: Sequence[np.ndarray],
    efforts: Sequence[int] = (jxl.USUAL,),
    estimate: Callable[[], float | None] | None = None,
) -> bool:
    """Whether `size` bytes are surely fewer than the fallback codec would need for these samples,
    judged by an estimate of JPEG XL; False where it must be tried to know.

    efforts: libjxl's that it would try; estimate: of these samples, where it was begun before.
    """
    large = all(samples.shape[0] * samples.shape[1] >= LARGE for samples in images)
    limit = HOPELESS_LARGE if large else HOPELESS
    limit *= MOST_SAVES if max(efforts) > jxl.USUAL else 1.0
    total = (estimate or estimate_of_jxl(images))()
    return total is not None and size < limit * total


# --- coders of the fallback codec ------------------------------------------------------------


class Coders(NamedTuple):
    """Which coders may win, beside JPEG XL and WebP's efforts QUICK and GOOD."""

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
        or samples.shape[0] * samples.shape[1] < 4 * photographs.SAMPLE_PIXELS
    ):
        return Coders(True, True, True)
    some = bands(samples)
    quick = webp.webp_size(some)
    if quick is None or not photographic(some, quick):
        return Coders(True, True, True)
    limit = CODER_LOSES * quick
    return Coders(len(encode_differences(some)) < limit, len(encode_png(some, 8)) < limit, False)


def deep_coders_worth_trying(samples: np.ndarray) -> Coders:
    """As coders_worth_trying for samples of 2 and 4 bytes, beside JPEG XL."""
    gray = samples.dtype.itemsize == 2 and samples.ndim == 2
    if (
        samples.shape[0] * samples.shape[1] < 4 * photographs.SAMPLE_PIXELS
        or samples.dtype.kind == "i"
    ):
        return Coders(True, gray, False)
    some = bands(samples)
    size = jxl.jxl_size(some, jxl.USUAL)
    png = gray and len(encode_png(some, 16)) < DEEP_LOSES["png"] * size
    return Coders(len(encode_differences(some)) < DEEP_LOSES["differences"] * size, png, False)
