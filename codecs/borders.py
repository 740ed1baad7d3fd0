"""What the borders between segments cost: the same images again, each in one piece.

The message of that second coding starts with plenty of bits, which come back.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.device_lanes import least
from bitsback.ans.lanes import random_lanes
from bitsback.codecs import prior_codec, segment_layout
from bitsback.codecs.bitstream import container
from bitsback.codecs.decoder import decode_image
from bitsback.codecs.segment_layout import Segment, turned
from bitsback.codecs.segments import Masks, context_around, planes
from bitsback.coder.chain import Chain
from bitsback.coder.model import Model
from bitsback.coder.top import Top


def one_piece(
    chain: Chain,
    images: Sequence[np.ndarray],
    top: Top,
    masks: Masks | None = None,
    sharpness: int = 0,
) -> tuple[int, int]:
    """(growth, largest debt) in bits of images coded as one segment without context.

    images: (H, W, 3 or 1) uint8 of one size; masks: as segments.context_around's; sharpness: of the
    colour counts, 0 for none.
    """
    x, lowest = planes(np.stack(images)), []
    counts = ColourCounts(sharpness) if sharpness else None
    if counts:
        counts.count_all(x)
    lanes = random_lanes(x.size)
    before = lanes.size_bits
    context = context_around(images, Segment(0, len(images), 0, 0, *images[0].shape[:2]), masks)
    there = chain.counts_for(counts)
    chain.push(lanes, x, top, context, lambda s: lowest.append(s.size_bits), there)
    return lanes.size_bits - before, before - least(lowest)


def net_in_one_piece(
    chain: Chain, pixels: np.ndarray, top: Top, mask: np.ndarray | None = None, sharpness: int = 0
) -> tuple[int, float]:
    """(bits, largest debt in bits per dimension) of (H, W, 3 or 1) uint8 under the prior.

    Without start part or borders, but in pieces of at most ENCODER_MAX_PIXELS, to bound memory.
    """
    height, width, channels = pixels.shape
    step, bits, debt = segment_layout.STEP, 0, 0.0
    rows = max(step, segment_layout.ENCODER_MAX_PIXELS // width // step * step)
    for begin in range(0, height, rows):
        piece = pixels[begin : begin + rows]
        masks = None if mask is None else [mask[begin : begin + rows]]
        at = top.at(Segment(0, 1, begin, 0, len(piece), width), channels)
        growth, owed = one_piece(chain, [piece], at, masks, sharpness)
        bits, debt = bits + growth, max(debt, owed / piece.size)
    return bits, debt


def border_bits(
    data: bytes, *, model: Model | str | Path | None = None, device: str = "cpu"
) -> float | None:
    """Bits that the borders of a file of one image cost; negative where context saves more.

    The image is decoded and coded in one piece; the start part, which the prior did not code, is
    taken at the image's mean rate.  None of an archive, and without a prior.  Errors: as
    decode_image's.
    """
    if container.read_header(data).archive:
        return None
    header, payload = container.read(data)
    if not header.model:
        return None
    model = Model.of_file(model, header.model)
    colour = decode_image(data, model=model, device=device).colour
    assert colour is not None  # its mode lies under the prior
    pixels = np.ascontiguousarray(turned(colour, header.flips))
    segments = segment_layout.locate(header.sizes, header.start, header.segments)
    coded = sum(segment.pixels for segment in segments)
    chain, _, top, masks, _ = prior_codec.open_stack(
        header, payload, model, [np.empty_like(pixels)], device
    )
    net, _ = net_in_one_piece(chain, pixels, top, masks[0] if masks else None, header.sharpness)
    return header.net_bits - net * coded / (header.width * header.height)
