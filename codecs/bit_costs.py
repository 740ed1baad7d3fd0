"""Where the bits of a file are, from coding itself: decoding with a ledger, no estimate.

The cost of a latent is what the encoder pushed of it less what it popped:

    x           -log2 p(x | y_0)
    y_k         -log2 p(y_k | y_{k+1}) + log2 q(y_k | y_{k-1})
    y_{K-1}     -log2 p(y_{K-1})       + log2 q(y_{K-1} | y_{K-2})
"""

from typing import NamedTuple

from bitsback.ans.lanes import EXPONENT_BITS, MAX_LANES
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Header
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.decoder import (
    ModelOption,
    Progress,
    decode_images,
    no_progress,
    shared,
)
from bitsback.coder.ledger import Ledger
from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile


class BitCosts(NamedTuple):
    """Bits of a file by part; `total` is 8 times its bytes.

    header: all but sections and payload, checksum included; sections: {name: bits} of side
    information; fallback: the fallback parts, in whole words, without remainders; latents: of x,
    y_0, ..., y_{K-1}; sigmas: noise of each in gray levels, 0 for x; closing: what closing the
    lanes costs, and rounding up to a byte; remainders: of 16-bit images.
    """

    header: int
    sections: dict[str, int]
    fallback: int
    latents: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()
    closing: int = 0
    remainders: int = 0

    @property
    def total(self) -> int:
        """The sum of all parts."""
        parts = self.header, *self.sections.values(), self.fallback, *self.latents, self.closing
        return sum(parts) + self.remainders


def bit_costs(
    data: bytes,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> BitCosts:
    """Decodes a .bbk file and adds up its parts, those of all groups of an archive.

    Options and errors as decode_images.
    """
    groups = container.read_groups(data)
    if len(groups) > 1:
        parts, count = [], len(groups)
        for i, group in enumerate(groups):
            done = shared(progress, i, count)
            parts.append(bit_costs(group.of(data), model=model, device=device, progress=done))
        return _added(parts, 8 * groups[0].begin)
    header, payload = container.read(data)
    sections = head_costs(data, header, payload)
    head = sections.pop("header")
    if not header.model:
        return BitCosts(head, sections, 8 * len(payload))
    chosen, ledger = Model.of_file(model, header.model), Ledger()
    decode_images(data, model=chosen, device=device, progress=progress, ledger=ledger)
    latents = latent_bits(ledger, len(chosen.levels))
    fallback = 8 * (header.credit_bytes + -header.credit_bytes % 4)
    closing = 8 * len(payload) - fallback - sum(latents)
    if not 0 <= closing <= 8 + EXPONENT_BITS * MAX_LANES:
        raise DamagedFile("the bits of the levels are not those of the words")
    noise = (0.0, *sigmas(chosen.levels))
    remainders = 8 * header.remainder_bytes
    fallback -= remainders
    return BitCosts(head, sections, fallback, latents, noise, closing, remainders)


def head_costs(data: bytes, header: Header, payload: bytes) -> dict[str, int]:
    """{"header": bits, section: bits, ...} of all but the payload."""
    sections = {Tag(tag).name.lower(): 8 * len(body) for tag, body in header.sections.items()}
    return {"header": 8 * (len(data) - len(payload)) - sum(sections.values())} | sections


def _added(costs, table):
    """The BitCosts of groups as one; table: bits of the table of groups."""
    names = dict.fromkeys(name for one in costs for name in one.sections)
    latents = max((one.latents for one in costs), key=len)
    return BitCosts(
        table + sum(one.header for one in costs),
        {name: sum(one.sections.get(name, 0) for one in costs) for name in names},
        sum(one.fallback for one in costs),
        tuple(sum(one.latents[k] for one in costs if one.latents) for k in range(len(latents))),
        max((one.sigmas for one in costs), key=len),
        sum(one.closing for one in costs),
        sum(one.remainders for one in costs),
    )


def latent_bits(ledger: Ledger, levels: int) -> tuple[int, ...]:
    """Bits of x, y_0, ..., y_{K-1}, from a decoder's ledger of K levels."""
    sums = ledger.sums(lambda entry: entry.level)
    popped = [sums.get(k, (0, 0))[0] for k in range(levels + 1)]
    pushed = [sums.get(k, (0, 0))[1] for k in range(levels)]
    return popped[0], *(popped[k + 1] - pushed[k] for k in range(levels))
