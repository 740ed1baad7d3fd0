"""The fallback codec: lossless coding of samples without the prior.

The first byte names the coder, the smallest of WebP, PNG and differences.  Only samples go in:
channels have no meaning here, so CMYK may be coded as RGBA.
"""

import struct

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from bitsback.codecs import mode_decision
from bitsback.codecs.fallback import webp
from bitsback.codecs.fallback.differences import decode_differences, encode_differences
from bitsback.codecs.fallback.png import decode_png, encode_png
from bitsback.errors import DamagedFile

WEBP, PNG, PNG1, PNG2, PNG4, DIFFERENCES = range(6)
PNG_BITS = {PNG1: 1, PNG2: 2, PNG4: 4}  # indices and bilevel images, several in a byte
CACHED_PIXELS = 2**16  # of the largest array whose code FallbackCache keeps


def encode_fallback(samples: np.ndarray, patient: bool = True) -> bytes:
    """(H, W) or (H, W, C) array of 1, 2 or 4 bytes a sample -> the fewest bytes of all coders.

    (H, W, 1) counts as (H, W).  patient: whether WebP's BEST effort is tried where it may win.
    """
    if samples.shape[2:] == (1,):
        samples = samples[..., 0]
    coders = mode_decision.coders_worth_trying(samples)
    results = [bytes([DIFFERENCES]) + encode_differences(samples)] if coders.differences else []
    if samples.dtype == np.uint8 and max(samples.shape[:2]) <= webp.MAX_SIDE:
        # more effort is not always smaller
        efforts = [webp.QUICK, webp.GOOD, *[webp.BEST] * (coders.best_webp and patient)]
        results += [bytes([WEBP]) + data for data in webp.webp_streams(samples, *efforts)]
    if coders.png and (
        samples.dtype == np.uint8 or samples.dtype == np.uint16 and samples.ndim == 2
    ):
        results.append(bytes([PNG]) + encode_png(samples, 8 * samples.dtype.itemsize))
    if samples.dtype == np.uint8 and samples.ndim == 2 and (most := int(samples.max())) < 16:
        method = PNG1 if most < 2 else PNG2 if most < 4 else PNG4
        results.append(bytes([method]) + encode_png(samples, PNG_BITS[method]))
    return min(results, key=len)


def decode_fallback(data: bytes, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> np.ndarray:
    """The mirror of encode_fallback.  Sizes are checked before samples are unpacked.

    Errors: DamagedFile.
    """
    if tuple(shape[2:]) == (1,):
        return decode_fallback(data, shape[:2], dtype)[..., None]
    method, body, dtype = data[0] if data else 255, data[1:], np.dtype(dtype)
    if method == DIFFERENCES:
        return decode_differences(body, shape, dtype)
    try:
        if method == WEBP and dtype == np.uint8:
            samples = webp.decode_webp(body, shape)
        elif method == PNG and (dtype == np.uint8 or dtype == np.uint16 and len(shape) == 2):
            samples = decode_png(body, shape, 8 * dtype.itemsize)
        elif method in PNG_BITS and dtype == np.uint8 and len(shape) == 2:
            samples = decode_png(body, shape, PNG_BITS[method])
        else:
            raise ValueError("an unknown coder")
        if samples.shape != tuple(shape):
            raise ValueError("another size")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError):
        raise DamagedFile("a part coded by the fallback codec does not decode") from None
    return np.ascontiguousarray(samples.astype(dtype, copy=False))


class FallbackCache:
    """encode_fallback with a memory for small arrays: an archive may hold one image many times,
    and the mode decision needs the size of a code that the file may need later."""

    def __init__(self) -> None:
        self._codes: dict[tuple, bytes] = {}

    def __call__(self, samples: np.ndarray, patient: bool = True) -> bytes:
        """As encode_fallback."""
        if samples.shape[0] * samples.shape[1] > CACHED_PIXELS:
            return encode_fallback(samples, patient)
        samples = samples[..., 0] if samples.shape[2:] == (1,) else samples
        key = samples.shape, samples.dtype.str, patient, samples.tobytes()
        if key not in self._codes:
            self._codes[key] = encode_fallback(samples, patient)
        return self._codes[key]
