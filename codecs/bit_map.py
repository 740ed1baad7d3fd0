"""Where in an image the bits of its file went: every bit of the stack at the pixels it codes.

A file is decoded with a ledger.  The bits of each of its entries, which are integers and add up to
the words, are spread over the values that it coded, in proportion to the information of each,
-log2 of its frequency.  So the map of a latent (bit_costs.py) adds up to the latent's bits.
"""

from dataclasses import dataclass

import numpy as np

from bitsback.codecs import prior_codec
from bitsback.codecs.bit_costs import head_costs
from bitsback.codecs.bitstream.chosen import read_single
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.checksums import checked_images
from bitsback.codecs.decoder import ModelOption, Progress, bytes_of, no_progress
from bitsback.codecs.display_png import display_png
from bitsback.codecs.fallback.parts import split_parts
from bitsback.codecs.map_ledger import CountedCosts, MapLedger, placed_chain
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import pop_segments
from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas

BRIGHTEST = 99.5  # percentile of bits a pixel that gets the end of the colour scale
HEAT = np.array([(0, 0, 24), (86, 24, 122), (216, 70, 82), (252, 170, 78), (255, 252, 214)])


@dataclass(frozen=True)
class BitMap:
    """Bits of a file by pixel, and what has no place in the image.

    latents: (K + 1, H, W) float64, of x, y_0, ..., y_{K-1}, none without the prior; fallback:
    (H, W), of the part that the fallback codec coded, spread evenly over it; sigmas: noise of each
    latent in gray levels, 0 for x; rest: {name: bits} of header, side information, remainders
    of 16 bits, other fallback parts and closing.  All together are `total`, all bits of the file.
    """

    latents: np.ndarray
    fallback: np.ndarray
    sigmas: tuple[float, ...]
    rest: dict[str, int]

    @property
    def pixels(self) -> np.ndarray:
        """(H, W) float64: bits of each pixel."""
        return self.latents.sum(0) + self.fallback

    @property
    def brightest(self) -> float:
        """Bits of a pixel, and more, that `heat` shows in the last of its colours."""
        return max(float(np.percentile(self.pixels, BRIGHTEST)), 1e-9)

    @property
    def heat(self) -> np.ndarray:
        """(H, W, 3) uint8: the more bits of a pixel, the lighter."""
        share, at = self.pixels / self.brightest, np.linspace(0, 1, len(HEAT))
        return np.stack([np.interp(share, at, one) for one in HEAT.T], -1).astype(np.uint8)

    def _repr_png_(self) -> bytes:
        """As notebooks show it."""
        return display_png(self.heat)

    @property
    def total(self) -> int:
        """Bits of the file."""
        return round(float(self.pixels.sum())) + sum(self.rest.values())

    @property
    def parts(self) -> dict[str, float]:
        """{name: bits} of all parts: latents by name, fallback, and the rest."""
        names = ["x", *(f"y_{k}" for k in range(len(self.latents) - 1))]
        coded = {name: float(one.sum()) for name, one in zip(names, self.latents)}
        return coded | {"fallback": float(self.fallback.sum())} | self.rest


def bit_map(data: bytes, *, model: ModelOption = None, progress: Progress = no_progress) -> BitMap:
    """The bytes of a .bbk file of one image -> BitMap; decodes it on the CPU, and compares its
    digest: no figure comes of pixels that are not the file's.

    Options as decode_image.  Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an
    archive.
    """
    header, payload = read_single(bytes_of(data), "a map shows one image")
    rest, size = head_costs(data, header, payload), (header.height, header.width)
    fallback = np.zeros(size)
    if not header.model:
        reader = Reader(payload)
        reader.take(reader.number(len(payload)) if header.metadata else 0)
        rest["metadata"] = 8 * reader.position
        fallback += 8 * (len(payload) - reader.position) / fallback.size
        return BitMap(np.zeros((0, *size)), fallback, (), _used(rest))
    chosen = Model.of_file(model, header.model)
    maps = np.zeros((len(chosen.levels) + 1, *size))
    colours = [np.empty(header.sizes[0], np.uint8)]
    images = [turned(colours[0], header.flips)]
    chain, lanes, top, masks, _ = prior_codec.open_stack(header, payload, chosen, images)
    segments = locate(header.sizes, header.start, header.segments)
    ledger = MapLedger(maps, segments, masks)
    pop_segments(
        placed_chain(chain, ledger),
        lanes,
        images,
        header.start,
        header.segments,
        top,
        progress,
        masks,
        CountedCosts(header.sharpness, ledger) if header.sharpness else None,
        ledger,
        header.lanes,
    )
    credit = 8 * (header.credit_bytes + -header.credit_bytes % 4)
    parts = split_parts(lanes.credit(header.credit_bytes), header)
    checked_images(header, parts, colours, chosen.gaussians)
    start = 8 * len(parts.rest)
    _, rows, columns = header.start
    if rows:
        fallback[:rows, :columns] = start / (rows * columns)
    rest["remainders"] = 8 * header.remainder_bytes
    rest["other fallback parts"] = credit - start * bool(rows) - rest["remainders"]
    rest["closing"] = 8 * len(payload) - credit - round(float(ledger.maps.sum()))
    return BitMap(
        np.stack([turned(one, header.flips) for one in ledger.maps]),
        turned(fallback, header.flips),
        (0.0, *sigmas(chosen.levels)),
        _used(rest),
    )


def _used(rest):
    return {name: bits for name, bits in rest.items() if bits}
