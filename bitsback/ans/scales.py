"""The list of standard deviations of discretised Gaussians: 16 to a doubling, in lattice spacings.

Apart from the coder's tables (gaussian_tables.py), so that training needs no coder.
"""

import numpy as np

FRACTION_BITS = 5
# Positions of the mean inside a spacing; 16 would cost 0.002 bits per dimension more on 12 levels.
FRACTIONS = 2**FRACTION_BITS
SCALES_PER_DOUBLING = 16
SCALE_ONE = 64  # index of sd = 1; index 0 is sd = 1/16
SCALES = 113  # up to sd = 8


def scale_sd(index: int) -> float:
    """sd, in spacings, of a scale index."""
    return 2.0 ** ((index - SCALE_ONE) / SCALES_PER_DOUBLING)


def scale_index(sd: float | np.ndarray) -> np.ndarray:
    """Nearest scale index of an sd in spacings, clipped to the list.  sd: float or array."""
    index = np.rint(SCALE_ONE + SCALES_PER_DOUBLING * np.log2(np.maximum(sd, 1e-9)))
    return np.clip(index, 0, SCALES - 1).astype(np.int32)
