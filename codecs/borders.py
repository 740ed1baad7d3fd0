"""What the borders between segments cost: the same images again, each in one piece on a stack with plenty of bits."""

import numpy as np

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.stack import Stack
from bitsback.codecs import prior_codec, segment_layout
from bitsback.codecs.bitstream import container
from bitsback.codecs.decoder import decode_image
from bitsback.codecs.segment_layout import Place, turned
from bitsback.codecs.segments import context_around, planes
from bitsback.coder.model import Model

SEED = 0  # of the bits that lie on the stack; they come back


def one_piece(chain, images, top, masks=None, sharpness=0) -> tuple[int, int]:
    """(growth, peak debt) in bits of (H, W, 3) uint8 of one size, coded as one segment with nothing known around it; masks: as segments.context_around's;
    sharpness: of ColourCounts, 0 for none."""
    x, lowest, counts = planes(np.stack(images)), [], ColourCounts(sharpness) if sharpness else None
    if counts:
        counts.count_all(x)
    stack = Stack(np.random.default_rng(SEED).bytes(2 * x.size + 64))
    before = stack.size_bits
    context = context_around(images, Place(0, len(images), 0, 0, *images[0].shape[:2]), masks)
    chain.push(stack, x, top, context, lambda s: lowest.append(s.size_bits), counts)
    return stack.size_bits - before, before - min(lowest)


def net_in_one_piece(chain, pixels, top, mask=None, sharpness=0) -> tuple[int, float]:
    """(bits, peak debt in bits a dimension) of (H, W, 3) uint8 under the prior without start and borders (in pieces of places.LIMIT pixels, which bounds memory)."""
    height, width, channels = pixels.shape
    rows, bits, debt = (
        max(
            segment_layout.STEP,
            segment_layout.ENCODER_MAX_PIXELS // width // segment_layout.STEP * segment_layout.STEP,
        ),
        0,
        0.0,
    )
    for begin in range(0, height, rows):
        piece, told = (
            pixels[begin : begin + rows],
            None if mask is None else [mask[begin : begin + rows]],
        )
        growth, owed = one_piece(
            chain,
            [piece],
            top.at(Place(0, 1, begin, 0, len(piece), width), channels),
            told,
            sharpness,
        )
        bits, debt = bits + growth, max(debt, owed / piece.size)
    return bits, debt


def border_bits(data: bytes, *, model=None, device="cpu") -> float | None:
    """Decodes a file of one image and codes it in one piece: bits that its borders cost (negative where context gained more); None without a prior.

    The start block, which the prior did not code, is taken at the image's mean rate.  Errors: as image.decode_image's.
    """
    header, payload = container.read(data)
    if not header.model or header.archive:
        return None
    model = Model.of_file(model, header.model)
    colour = np.ascontiguousarray(
        turned(decode_image(data, model=model, device=device).colour, header.flips)
    )
    coded = sum(
        place.pixels for place in segment_layout.locate(header.sizes, header.start, header.segments)
    )
    chain, _, top, masks, _ = prior_codec.open_stack(
        header, payload, model, [np.empty_like(colour)], device
    )
    return header.net_bits - net_in_one_piece(
        chain, colour, top, masks and masks[0], header.sharpness
    )[0] * coded / (header.width * header.height)
