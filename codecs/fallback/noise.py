"""Samples like noise, on which WebP's slow efforts, up to minutes a megapixel, are in vain.

Differences (differences.py) store noise as it is, in fewer than ten bytes more.
"""

import numpy as np

from bitsback.codecs.image import strips

# Noise takes at least this share of its bytes in a quick WebP: uniform noise 1.00002 and more, as
# gray, RGB or RGBA; normal noise of sigma 60 takes 0.976.  Too low: more effort would have won.
NOISE_TAKES = 0.9995
SMALLEST = 2**14  # bytes: of fewer ones every effort is quick
WINDOW = 8  # bytes: in 2^32 windows of uniform noise one pair is expected that is equal
SAMPLED_BITS = 4  # of 2^4 windows one is compared: those with a certain hash, so that equals meet
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth, TAOCP 3, 6.4: Fibonacci hashing)


def like_noise(samples: np.ndarray, quick: int) -> bool:
    """Whether uint8 samples take as many bytes in a quick WebP, `quick`, and nothing repeats in
    them that more effort could find."""
    if samples.size < SMALLEST or quick < NOISE_TAKES * samples.size:
        return False
    found = []
    for rows in strips(samples):
        flat = np.ascontiguousarray(rows).reshape(-1)
        if flat.size < WINDOW:
            continue  # a last row of few samples
        windows = np.lib.stride_tricks.sliding_window_view(flat, WINDOW)
        numbers = np.ascontiguousarray(windows).view(np.uint64)[:, 0]
        found.append(numbers[(numbers * MIX) >> np.uint64(64 - SAMPLED_BITS) == 0])
    numbers = np.sort(np.concatenate(found))
    return not (numbers[1:] == numbers[:-1]).any()
