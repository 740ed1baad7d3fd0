"""What the borders between segments cost: the same pictures again, each in one piece on a stack with plenty of bits."""
import numpy as np

from ..chain import Top
from ..context import nothing
from ..model import Model
from ..stack import Stack
from . import container, picture, places
from .segments import planes

SEED = 0                        # of the bits that lie on the stack; they come back


def one_piece(chain, images, top) -> tuple[int, int]:
    """(growth, peak debt) in bits of (H, W, 3) uint8 of one size, coded as one segment with nothing known around it."""
    x, lowest = planes(np.stack(images)), []
    stack = Stack(np.random.default_rng(SEED).bytes(2 * x.size + 64))
    before = stack.size_bits
    chain.push(stack, x, top, nothing(x), watch=lambda s: lowest.append(s.size_bits))
    return stack.size_bits - before, before - min(lowest)


def net_in_one_piece(chain, pixels) -> int:
    """Bits that (H, W, 3) uint8 cost under the prior without start and borders (in pieces of places.LIMIT pixels, which bounds memory)."""
    rows = max(places.STEP, places.LIMIT // pixels.shape[1] // places.STEP * places.STEP)
    top = Top.fitted([pixels], chain.levels)
    return sum(one_piece(chain, [pixels[begin:begin + rows]], top)[0] for begin in range(0, len(pixels), rows))


def border_bits(data: bytes, *, model=None, device="cpu") -> float | None:
    """Decodes a file of one picture and codes it in one piece: bits that its borders cost (negative where context gained more); None without a prior.

    The start block, which the prior did not code, is taken at the picture's mean rate.  Errors: as picture.decode_still's.
    """
    header, payload = container.read(data)
    if not header.model or header.archive:
        return None
    model = Model.of_file(model, header.model)
    colour = np.ascontiguousarray(picture.decode_still(data, model=model, device=device).colour)
    coded = sum(place.pixels for place in places.locate(header.sizes, header.start, header.segments))
    return header.net_bits - net_in_one_piece(picture.open_stack(header, payload, model, device)[0], colour) * coded / (header.width * header.height)
