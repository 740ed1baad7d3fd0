"""One picture: a plain strip for credit, then groups of rows under the diffusion prior.

    rows    0 ..... strip    coded by WebP: its bytes are the bottom of the stack, the first credit
            ....... group 1  as many rows as that credit allows
            ....... group 2  about twice as many, and so on
            last group       decoded first

How large a group may be is a guess that is then counted: one that runs the stack dry is undone
and made smaller.  No bit is borrowed that is not in the file.
"""
import numpy as np

from .. import context
from ..chain import Top
from ..errors import DamagedFile, StackEmpty, UnsupportedImage
from ..model import Model
from ..stack import Stack
from . import container
from .container import DIFFUSION, PLAIN, Header, pixel_digest
from .plain import decode_plain, encode_plain, quick_plain_size

ROW_STEP = 8                    # groups are multiples of 8 rows, as the network's coarsest stage is
STRIP_SHARE = 32                # the strip is 1/32 of the rows
DEBT = 3.6                      # bits a dimension that a group may owe at its worst, first guess
SMALLEST = 48 * 48              # pixels below which the prior is not tried
SURELY_BETTER = 0.965           # of a quick WebP's size: the best WebP, twenty times slower, need not be tried


def _check(pixels):
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnsupportedImage("an (H, W, 3) array of uint8 is needed")
    if 0 in pixels.shape or max(pixels.shape) > container.MAX_SIDE:
        raise UnsupportedImage(f"a side of {pixels.shape[0]}x{pixels.shape[1]} is out of range")


def _planes(rows):
    """(h, W, 3) uint8 -> (1, 3, h, W) int32, minus 128."""
    return np.ascontiguousarray(rows.transpose(2, 0, 1)[None]).astype(np.int32) - 128


def _context(rows):
    """The first rows below a group, which are known when it is decoded, as planes."""
    return _planes(rows[:context.ROWS])


def _next_rows(size_bits, debt, width, left):
    """Rows of the next group: what the credit allows; no small rest is left behind."""
    fits = int(size_bits / (debt * 3 * width)) // ROW_STEP * ROW_STEP
    if fits >= left:
        return left
    if fits * 1.5 > left:
        return max(ROW_STEP, left // 2 // ROW_STEP * ROW_STEP)
    return fits


def _push_groups(chain, stack, pixels, start, top, progress):
    """Codes rows start.. in groups; returns their row counts, or None if no group ever fits."""
    rows, debt, done = [], DEBT, start
    while done < len(pixels):
        count = _next_rows(stack.size_bits, debt, pixels.shape[1], len(pixels) - done)
        if not count:
            return None
        attempt, lowest = stack.copy(), [stack.size_bits]
        try:
            chain.push(attempt, _planes(pixels[done:done + count]), top, _context(pixels[done + count:]),
                       watch=lambda s: lowest.append(min(lowest[-1], s.size_bits)))
        except StackEmpty:
            debt *= 1.15
            continue
        debt = 1.03 * (stack.size_bits - lowest[-1]) / (3 * count * pixels.shape[1])
        stack.restore(attempt)
        rows.append(count)
        done += count
        progress(done / len(pixels))
    return rows


def _encode_diffusion(pixels, model, device, progress):
    """(Header, payload), or None where the picture is too small to pay for its start."""
    height, width = pixels.shape[:2]
    chain, strip = model.chain(device), max(ROW_STEP, height // STRIP_SHARE // ROW_STEP * ROW_STEP)
    top = Top.fitted(pixels, model.levels)
    while strip < height // 2:
        credit = encode_plain(pixels[:strip])
        stack = Stack(credit)
        before = stack.size_bits
        rows = _push_groups(chain, stack, pixels, strip, top, progress)
        if rows:
            numbers = tuple(n for pair in zip(top.mean16, top.scale) for n in pair)
            header = Header(width, height, DIFFUSION, pixel_digest(pixels), model.id[:16],
                            stack.size_bits - before, len(credit), (strip, *rows), numbers)
            return header, stack.to_words()
        strip *= 2
    return None


def encode(pixels, *, model=None, device="cpu", progress=lambda share: None):
    """(H, W, 3) uint8 -> the bytes of a .bbk file; the smaller of prior and plain coding.

    model: a Model, a shipped name or a path (default: the shipped default); device: torch's;
    progress: called with the share done, 0..1.  Errors: UnsupportedImage, WrongModel.
    """
    _check(pixels)
    prior = None
    if pixels.shape[0] * pixels.shape[1] >= SMALLEST:
        model = model if isinstance(model, Model) else Model.open(model)
        result = _encode_diffusion(pixels, model, device, progress)
        if result:
            prior = container.write(*result)
            quick = quick_plain_size(pixels)
            if quick and len(prior) < SURELY_BETTER * quick:
                return prior
    plain = Header(pixels.shape[1], pixels.shape[0], PLAIN, pixel_digest(pixels))
    candidates = [container.write(plain, encode_plain(pixels))] + [prior] * bool(prior)
    return min(candidates, key=len)


def decode(data, *, model=None, device="cpu", progress=lambda share: None):
    """The bytes of a .bbk file -> (H, W, 3) uint8, checked against the digest inside.

    model: a Model or path where the file's own is not shipped.
    Errors: NotOurFile, DamagedFile, WrongModel.
    """
    header, payload = container.read(data)
    if header.method == PLAIN:
        pixels = decode_plain(payload, header.width, header.height)
    else:
        pixels = _decode_diffusion(header, payload, model, device, progress)
    if pixel_digest(pixels) != header.digest:
        raise DamagedFile("the pixels do not match their checksum")
    return pixels


def _decode_diffusion(header, payload, model, device, progress):
    if not (isinstance(model, Model) and model.id.startswith(header.model)):
        model = Model.open(model.path if isinstance(model, Model) else model, model_id=header.model)
    chain, stack = model.chain(device), Stack.from_words(payload)
    top, done = Top(header.top[::2], header.top[1::2]), 0
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    end = header.height
    try:
        for count in reversed(header.rows[1:]):
            x = chain.pop(stack, (1, 3, count, header.width), top, _context(pixels[end:]))
            if x.min() < -128 or x.max() > 127:
                raise DamagedFile("the words decode to values that are no pixels")
            pixels[end - count:end] = x[0].transpose(1, 2, 0) + 128
            end -= count
            done += count
            progress(done / header.height)
    except StackEmpty:
        raise DamagedFile("the words end too early") from None
    pixels[:end] = decode_plain(stack.credit(header.credit_bytes), header.width, header.rows[0])
    return pixels
