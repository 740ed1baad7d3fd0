"""Pictures to the bytes of a file and back: one picture, or an archive that shares one stack.

The prior codes what it can; where a conventional coder is smaller, that one is used instead.
"""
import dataclasses
import math
import zlib

import numpy as np

from ..chain import Top
from ..errors import DamagedFile, UnsupportedImage
from ..model import Model
from ..stack import Stack
from . import container
from .container import Entry, Header, pixel_digest
from .plain import quick_plain_size
from .places import STEP, Corner, locate, turned
from .segments import plain_parts, pop_segments, push_segments, unpack_plain_parts

START_SIDE, START_SHARE = 64, 8 # the plain block: a square of 64 pixels, or 1/8 of a small picture's side; doubled where it is too little credit
SMALLEST = 48 * 48              # pixels below which the prior is not tried
SURELY_BETTER = 0.965           # of a quick WebP's size: the best WebP, twenty times slower, need not be tried
PHOTOGRAPHIC = 2.0              # ... for what costs more bits a dimension; on graphics the best may be half the quick one


def _check(pixels):
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnsupportedImage("an (H, W, 3) array of uint8 is needed")
    if 0 in pixels.shape or max(pixels.shape) > container.MAX_SIDE:
        raise UnsupportedImage(f"a side of {pixels.shape[0]}x{pixels.shape[1]} is out of range")


def _starts(sizes):
    """Corners to try as the end of the plain parts: growing blocks of the first picture, then whole pictures."""
    height, width = sizes[0]
    side = max(STEP, min(START_SIDE, math.isqrt(height * width) // START_SHARE) // STEP * STEP)
    if height * width >= SMALLEST:
        while 2 * min(side, height) * min(side, width) < height * width:
            yield Corner(0, min(side, height), min(side, width))
            side *= 2
    count = 1
    while count < len(sizes):
        yield Corner(count)
        count *= 2


def _busiest_corner(pixels):
    """Flips that bring the corner with the most bytes to the top left: more credit for the first segments."""
    corner = lambda flips: turned(pixels, flips)[:START_SIDE, :START_SIDE]     # noqa: E731
    return max(range(4), key=lambda flips: quick_plain_size(np.ascontiguousarray(corner(flips))))


def encode_stack(images, header, model, device="cpu", progress=lambda share: None):
    """(Header, payload) under the prior, or None where the pictures are too small to pay for the start.

    images: list of (H, W, 3) uint8; header: a Header with entries and digest.
    """
    chain = model.chain(device)
    top = Top.fitted(images, model.levels)
    flips = _busiest_corner(images[0])
    images = [turned(pixels, flips) for pixels in images]
    for start in _starts([pixels.shape[:2] for pixels in images]):
        credit = plain_parts(images, start)
        stack = Stack(credit)
        before = stack.size_bits
        segments = push_segments(chain, stack, images, start, top, progress)
        if segments:
            numbers = tuple(n for pair in zip(top.mean16, top.scale) for n in pair)
            return dataclasses.replace(header, model=model.id[:16], net_bits=stack.size_bits - before, credit_bytes=len(credit),
                                       flips=flips, start=start, segments=segments, top=numbers), stack.to_words()
    return None


def encode_images(images, entries, *, archive, model=None, device="cpu", progress=lambda share: None):
    """The bytes of a file that holds `images` in this order: the smaller of prior and plain coding."""
    for pixels in images:
        _check(pixels)
    pixel_count, prior = sum(p.size // 3 for p in images), None
    header = Header(entries, pixel_digest(images), archive)
    if pixel_count >= SMALLEST:
        model = model if isinstance(model, Model) else Model.open(model)
        result = encode_stack(images, header, model, device, progress)
        if result:
            prior = container.write(*result)
            quick = [quick_plain_size(pixels) for pixels in images]
            if None not in quick and len(prior) < SURELY_BETTER * sum(quick) and 8 * sum(quick) > PHOTOGRAPHIC * 3 * pixel_count:
                return prior
    if not archive:
        header = dataclasses.replace(header, digest=header.digest[:4])
    plain = container.write(header, plain_parts(images, Corner(len(images))))
    return min([plain] + [prior] * bool(prior), key=len)


def encode(pixels, *, model=None, device="cpu", progress=lambda share: None):
    """(H, W, 3) uint8 -> the bytes of a .bbk file; the smaller of prior and plain coding.

    model: a Model, a shipped name or a path (default: the shipped default); device: torch's;
    progress: called with the share done, 0..1.  Errors: UnsupportedImage, WrongModel.
    """
    _check(pixels)
    entries = (Entry(pixels.shape[1], pixels.shape[0]),)
    return encode_images([pixels], entries, archive=False, model=model, device=device, progress=progress)


def decode_images(data, *, model=None, device="cpu", progress=lambda share: None):
    """The bytes of a file -> (Header, list of (H, W, 3) uint8), checked against the digests inside."""
    header, payload = container.read(data)
    sizes = [(e.height, e.width) for e in header.entries]
    if header.model:
        locate(sizes, header.start, header.segments)
        if not (isinstance(model, Model) and model.id.startswith(header.model)):
            model = Model.open(None if isinstance(model, Model) else model, model_id=header.model)
    images = [np.empty((*size, 3), np.uint8) for size in sizes]
    if header.model:
        stack = Stack.from_words(payload)
        views = [turned(pixels, header.flips) for pixels in images]
        pop_segments(model.chain(device), stack, views, header.start, header.segments,
                     Top(header.top[::2], header.top[1::2]), progress)
        unpack_plain_parts(stack.credit(header.credit_bytes), views, header.start)
    else:
        unpack_plain_parts(payload, images, Corner(len(images)))
    if header.archive:
        for entry, pixels in zip(header.entries, images):
            if entry.check != image_check(pixels):
                raise DamagedFile(f"{entry.name}: the pixels do not match their checksum")
    if pixel_digest(images, len(header.digest)) != header.digest:
        raise DamagedFile("the pixels do not match their checksum")
    return header, images


def decode(data, *, model=None, device="cpu", progress=lambda share: None):
    """The bytes of a .bbk file of one picture -> (H, W, 3) uint8, checked against the digest inside.

    model: a Model or path where the file's own is not shipped.
    Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an archive.
    """
    if container.read_header(data).archive:
        raise UnsupportedImage("an archive of pictures; use codecs.archive")
    return decode_images(data, model=model, device=device, progress=progress)[1][0]


def image_check(pixels):
    """16 bits of a picture in an archive: which one is damaged, if the archive's digest fails."""
    return zlib.crc32(pixels.tobytes()) & 0xFFFF
