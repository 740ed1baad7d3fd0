"""Whether the best fallback codec could be smaller than what the prior made, told without making it.

Measured on the 65 images of Kodak and valid: the best WebP is 0.940 to 0.997 of a quick one, which takes 0.6 s a megapixel (a good one
3 to 8, the best 16 to 24).  Four crops of 128x128 do not tell where in that range an image lies: their ratios are 5 % off either way.
PNG is 22 % larger than WebP at least, differences 5 %.  An image of 2.5 megapixels in three strips takes 0.6 % less than as a whole (good WebP),
so that the sum over strips is the harder rival of the two.
"""

import numpy as np

from bitsback.codecs.fallback.codec import GOOD, STRIP, photographic, webp_size

SMALL = (
    64 * 64
)  # pixels: below, the share is anything, down to 0.63 of crops of 8x8, 0.78 of 24x24, 0.91 of 48x48; from there 0.94 at least
SURELY, SURELY_GOOD = (
    0.93,
    0.975,
)  # 1 % under the smallest share measured; 2.5 % for what strips and the BEST effort may differ by


def surely_smaller(size: int, images: list[np.ndarray]) -> bool:
    """Whether `size` bytes are fewer than the best fallback codec of these arrays of samples; False where it must be tried to know.

    Never of what is small or no photograph, nor of what WebP does not hold.  The good WebP is asked only where making a whole one takes much memory.
    """
    if any(
        samples.dtype != np.uint8 or samples.shape[0] * samples.shape[1] < SMALL
        for samples in images
    ):
        return False
    quick = [webp_size(samples) for samples in images]
    if None in quick or not all(map(photographic, images, quick)):
        return False
    if size < SURELY * sum(quick):
        return True
    large = any(samples.shape[0] * samples.shape[1] > STRIP for samples in images)
    return (
        large
        and size < sum(quick)
        and size < SURELY_GOOD * sum(webp_size(samples, GOOD) for samples in images)
    )
