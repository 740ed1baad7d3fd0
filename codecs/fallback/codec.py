"""The fallback codec: lossless coding of samples without the prior.

The first byte names the coder, the smallest of JPEG XL, WebP, PNG and differences.  Only samples go
in: channels have no meaning here, so CMYK may be coded as RGBA.  Side information and start blocks
are coded without JPEG XL (`encode_part`): a photograph under the prior decodes without imagecodecs.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from bitsback.codecs import mode_decision
from bitsback.codecs.fallback import jxl, webp
from bitsback.codecs.fallback.differences import decode_differences, encode_differences
from bitsback.codecs.fallback.noise import like_noise
from bitsback.codecs.fallback.png import decode_png, encode_png
from bitsback.codecs.image import same_samples
from bitsback.efforts import EFFORTS
from bitsback.errors import DamagedFile, UnsupportedImage

WEBP, PNG, PNG1, PNG2, PNG4, DIFFERENCES, JXL, NARROW = range(8)
NAMES = ("WebP", "PNG", "PNG", "PNG", "PNG", "differences", "JPEG XL")
PNG_BITS = {PNG1: 1, PNG2: 2, PNG4: 4}  # indices and bilevel images, several in a byte
CACHED_PIXELS = 2**16  # of the largest array whose code FallbackCache keeps
UNSIGNED16 = np.dtype("<u2")


def _two_dimensional(samples):
    return samples[..., 0] if samples.shape[2:] == (1,) else samples


def _too_many(shape):
    """Whether Pillow refuses sides as too large to be trusted."""
    limit = Image.MAX_IMAGE_PIXELS
    return bool(limit) and shape[0] * shape[1] > 2 * limit


def _png_methods(samples):
    """[(coder, bits a sample)] that hold the samples."""
    if samples.dtype == np.uint8 and samples.ndim == 2 and (most := int(samples.max())) < 16:
        method = PNG1 if most < 2 else PNG2 if most < 4 else PNG4
        return [(PNG, 8), (method, PNG_BITS[method])]
    holds = samples.dtype == np.uint8 or samples.dtype == UNSIGNED16 and samples.ndim == 2
    return [(PNG, 8 * samples.itemsize)] * holds


def encode_part(samples: np.ndarray, patient: bool = True) -> bytes:
    """(H, W) or (H, W, C) array of 1, 2 or 4 bytes a sample -> the fewest bytes of all coders but
    JPEG XL.

    (H, W, 1) counts as (H, W).  patient: whether WebP's BEST effort is tried where it may win.
    """
    samples = _two_dimensional(samples)
    if _too_many(samples.shape):
        return bytes([DIFFERENCES]) + encode_differences(samples)
    coders = mode_decision.coders_worth_trying(samples)
    results = [bytes([DIFFERENCES]) + encode_differences(samples)] if coders.differences else []
    if samples.dtype == np.uint8 and max(samples.shape[:2]) <= webp.MAX_SIDE:
        # more effort is not always smaller
        efforts = [webp.QUICK, webp.GOOD, *[webp.BEST] * (coders.best_webp and patient)]
        results += [bytes([WEBP]) + data for data in webp.webp_streams(samples, *efforts)]
    for method, bits in _png_methods(samples):
        if coders.png or method != PNG:
            results.append(bytes([method]) + encode_png(samples, bits))
    return min(results, key=len)


def most_of_part(samples: np.ndarray) -> int:
    """Bytes that encode_part surely does not exceed, found soon; very many if that takes long."""
    samples = _two_dimensional(samples)
    quick = webp.webp_size(samples) if samples.dtype == np.uint8 else None
    return 2**62 if quick is None or samples.size > webp.STRIP else quick


def encode_fallback(
    samples: np.ndarray,
    efforts: Sequence[int] = EFFORTS["default"].jxl,
    useful: int | None = None,
) -> bytes:
    """(H, W) or (H, W, C) array of 1, 2 or 4 bytes a sample -> the fewest bytes of all coders.

    (H, W, 1) counts as (H, W).  efforts: libjxl's, of which the smallest result counts; what it
    codes is decoded and compared before it is chosen.  useful: bytes from which on the result is
    not used, and may be unchecked.  Errors: MissingPackage.
    """
    samples = _two_dimensional(samples)
    if samples.dtype.kind == "i" and samples.min() >= 0 and samples.max() < 2**16:
        narrow = samples.astype(UNSIGNED16)
        return bytes([NARROW]) + encode_fallback(narrow, efforts, useful and useful - 1)
    found = sorted(_codes(samples, efforts), key=len)
    if useful is not None and len(found[0]) >= useful:
        return found[0]
    return next(code for code in found if code[0] != JXL or _exact(code, samples))


def _codes(samples: np.ndarray, efforts: Sequence[int]) -> Iterator[bytes]:
    """Codes of all coders that may win: differences alone, of more pixels than Pillow decodes."""
    best = 2**62
    if _too_many(samples.shape):
        yield bytes([DIFFERENCES]) + encode_differences(samples)
        return
    if samples.dtype.kind != "i":
        for effort in efforts:
            try:
                code = bytes([JXL]) + jxl.encode_jxl(samples, effort)
            except ValueError:  # sides that libjxl does not take
                continue
            best = min(best, len(code))
            yield code
    if samples.dtype == np.uint8:
        coders = mode_decision.coders_worth_trying(samples)
    else:
        coders = mode_decision.deep_coders_worth_trying(samples)
    if samples.dtype == np.uint8 and max(samples.shape[:2]) <= webp.MAX_SIDE:
        for options, photograph_takes, others_take in mode_decision.WEBP_EFFORTS:
            codes = [bytes([WEBP]) + data for data in webp.webp_streams(samples, options)]
            yield from codes
            size = min(map(len, codes))
            best = min(best, size)
            if size * (others_take if coders.best_webp else photograph_takes) > best:
                break
            if options is webp.QUICK and like_noise(samples, size):
                break
    for method, bits in _png_methods(samples):
        if coders.png or method != PNG:
            yield bytes([method]) + encode_png(samples, bits)
    if coders.differences:
        yield bytes([DIFFERENCES]) + encode_differences(samples)


def _exact(code, samples):
    try:
        return same_samples(decode_fallback(code, samples.shape, samples.dtype), samples)
    except DamagedFile:
        return False


def decode_fallback(data: bytes, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> np.ndarray:
    """The mirror of encode_fallback and encode_part: an array that may be written into.

    Sizes are checked before samples unpack.

    Errors: DamagedFile; MissingPackage for JPEG XL without imagecodecs; UnsupportedImage where
    Pillow's limit is lower than the encoder's was.
    """
    if tuple(shape[2:]) == (1,):
        return decode_fallback(data, shape[:2], dtype)[..., None]
    method, body, dtype = data[0] if data else 255, data[1:], np.dtype(dtype)
    if method == DIFFERENCES:
        return np.require(decode_differences(body, shape, dtype), requirements="W")
    if method == NARROW and dtype.kind == "i":
        return decode_fallback(body, shape, UNSIGNED16).astype(dtype)
    if _too_many(shape):
        raise UnsupportedImage(
            f"{shape[1]}x{shape[0]} pixels are more than twice Pillow's limit for trusted images, "
            f"{Image.MAX_IMAGE_PIXELS}"
        )
    try:
        if method == WEBP and dtype == np.uint8:
            samples = webp.decode_webp(body, shape)
        elif method == PNG and (dtype == np.uint8 or dtype == UNSIGNED16 and len(shape) == 2):
            samples = decode_png(body, shape, 8 * dtype.itemsize)
        elif method in PNG_BITS and dtype == np.uint8 and len(shape) == 2:
            samples = decode_png(body, shape, PNG_BITS[method])
        elif method == JXL and dtype.kind != "i":
            samples = jxl.decode_jxl(body, shape, dtype)
        else:
            raise ValueError("an unknown coder")
        if samples.shape != tuple(shape):
            raise ValueError("another size")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error):
        raise DamagedFile("a part coded by the fallback codec does not decode") from None
    return np.require(samples, dtype, ("C", "W"))


def coder_name(data: bytes) -> str:
    """Name of the coder of what encode_fallback made."""
    method = data[1] if data[:1] == bytes([NARROW]) and len(data) > 1 else data[0] if data else 255
    return NAMES[method] if method < len(NAMES) else "unknown"


class FallbackCache:
    """encode_fallback with a memory for small arrays: an archive may hold one image many times,
    and the mode decision needs the size of a code that the file may need later.

    efforts: as encode_fallback's.
    """

    def __init__(self, efforts: Sequence[int] = EFFORTS["default"].jxl) -> None:
        self.efforts = efforts
        self._codes: dict[tuple, bytes] = {}

    def __call__(self, samples: np.ndarray, useful: int | None = None) -> bytes:
        """As encode_fallback."""
        if samples.shape[0] * samples.shape[1] > CACHED_PIXELS:
            return encode_fallback(samples, self.efforts, useful)
        samples = _two_dimensional(samples)
        key = samples.shape, samples.dtype.str, samples.tobytes()
        if key not in self._codes:
            self._codes[key] = encode_fallback(samples, self.efforts)
        return self._codes[key]
