"""Where in an image the bits of its file went: every bit of the stack at the pixels it codes.

A file is decoded with a ledger.  The bits of each of its entries, which are integers and add up to
the words, are spread over the values that it coded, in proportion to the information of each,
-log2 of its frequency.  So the map of a latent (bit_costs.py) adds up to the latent's bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitsback.ans.colour_counts import ColourCounts, Table, chunks
from bitsback.ans.colour_frequencies import ESCAPE_BITS, symbols_of
from bitsback.ans.gaussian_tables import TOTAL, Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.codecs import prior_codec
from bitsback.codecs.bit_costs import head_costs
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.decoder import ModelOption, Progress, no_progress
from bitsback.codecs.fallback.parts import split_parts
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import Segment, locate, turned
from bitsback.codecs.segments import Masks, blocks, pop_segments
from bitsback.coder.chain import Chain
from bitsback.coder.conditional import Conditional
from bitsback.coder.context import Array, Context
from bitsback.coder.distributions import Request
from bitsback.coder.fastest import sample_functions
from bitsback.coder.ledger import Ledger
from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.errors import UnsupportedImage
from bitsback.integer.network import IntegerExperts


@dataclass(frozen=True)
class BitMap:
    """Bits of a file by pixel, and what has no place in the image.

    latents: (K + 1, H, W) float64, of x, y_0, ..., y_{K-1}, none without the prior; fallback:
    (H, W), of the part that the fallback codec coded, spread evenly over it; sigmas: noise of each
    latent in gray levels, 0 for x; rest: {name: bits} of header, side information, other fallback
    parts and closing.  All together are `total`, 8 times the file's bytes.
    """

    latents: np.ndarray
    fallback: np.ndarray
    sigmas: tuple[float, ...]
    rest: dict[str, int]

    @property
    def pixels(self) -> np.ndarray:
        """(H, W) float64: bits of each pixel."""
        return self.latents.sum(0) + self.fallback

    def _repr_png_(self) -> bytes | None:
        """As notebooks show it: the more bits, the lighter."""
        top = max(float(np.percentile(self.pixels, 99.5)), 1e-9)
        shown = np.clip(255 * self.pixels / top, 0, 255).astype(np.uint8)
        return ImageData("L", shown)._repr_png_()

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


class _Places(Ledger):
    """A decoder's ledger that spreads each entry over a map.

    maps: (K + 1, H, W) of the turned image, written to.  costs: information of the values that were
    coded last; places: where they lie in the segment (B, C, H, W), flat, None: all free ones.
    """

    def __init__(self, maps: np.ndarray, segments: list[Segment], masks: Masks | None) -> None:
        super().__init__()
        self.maps, self.segments, self.masks = maps, segments, masks
        self.costs = np.zeros(0)
        self.places: np.ndarray | None = None
        self.free: np.ndarray | None = None

    def begin(self, segment: int, lanes: Lanes) -> None:
        super().begin(segment, lanes)
        self.segment = here = self.segments[segment]
        mask = None if self.masks is None else self.masks[here.image]
        self.free = None
        if mask is not None:
            free = blocks([mask], here._replace(image=0))[0].transpose(2, 0, 1)
            self.free = np.flatnonzero(free)

    def record(
        self, lanes: Any, level: int, coding_pass: int | None = None, colour: int | None = None
    ) -> None:
        super().record(lanes, level, coding_pass, colour)
        bits = self.entries[-1].popped - self.entries[-1].pushed
        latent = level + (coding_pass is None and level < len(self.maps) - 1)
        total, costs = self.costs.sum(), self.costs
        share = costs / total if total > 0 else np.full(len(costs), 1 / max(1, len(costs)))
        height, width = self.segment.height, self.segment.width
        plane = np.zeros(height * width)
        places = self.free if self.places is None else self.places
        if places is None:
            places = np.arange(len(costs))
        np.add.at(plane, places % (height * width), bits * share)
        (view,) = blocks([self.maps[latent]], self.segment._replace(image=0, images=1))
        view += plane.reshape(height, width)
        self.places = None


class _Costs(Gaussians):
    """Tells a _Places what each value costs that is pushed or popped."""

    def __init__(self, gaussians: Gaussians, ledger: _Places) -> None:
        super().__init__(gaussians.frequencies)
        self.ledger = ledger

    def push(self, lanes: Any, values: Any, mean32: Any, scale: Any, escapes: bool = True) -> None:
        super().push(lanes, values, mean32, scale, escapes)
        self.ledger.costs = self.bits_of_each(values, mean32, scale, escapes)

    def pop(self, lanes: Any, mean32: Any, scale: Any, escapes: bool = True) -> Any:
        values = super().pop(lanes, mean32, scale, escapes)
        self.ledger.costs = self.bits_of_each(values, mean32, scale, escapes)
        return values


class _CountedCosts(ColourCounts):
    """The same for values under colour counts."""

    def __init__(self, sharpness: int, ledger: _Places) -> None:
        super().__init__(sharpness)
        self.ledger = ledger

    def pop(
        self,
        lanes: Lanes,
        gaussians: Gaussians,
        table: Table,
        keys: np.ndarray,
        mean32: np.ndarray,
        scale: np.ndarray,
    ) -> np.ndarray:
        counts, values = self._table(table), np.empty(len(keys), np.int32)
        costs = np.empty(len(keys))
        for part in chunks(len(keys)):
            rows = keys[part], mean32[part], scale[part]
            found = self.frequencies(gaussians, table, *rows)
            values[part] = self.loops.pop(lanes, gaussians, counts, *rows, self.share, self.base)
            symbols, escaped = symbols_of(values[part], mean32[part])
            costs[part] = np.log2(TOTAL / found[np.arange(len(symbols)), symbols])
            costs[part] += ESCAPE_BITS * escaped
            self.count(table, keys[part], values[part])
        self.ledger.costs = costs
        return values


class _PlacedConditional(Conditional):
    """Tells a _Places where the values of each request lie."""

    def __init__(
        self, network: IntegerExperts, gaussians: Gaussians, index: int, ledger: _Places
    ) -> None:
        super().__init__(network, gaussians, index)
        self.ledger = ledger

    def _requests(self, y: Array, values: Array, context: Context) -> Iterator[Request]:
        numbers = np.arange(values.size, dtype=np.int32).reshape(values.shape)
        for request in super()._requests(y, values, context):
            of_colour = sample_functions(numbers).of_colour
            self.ledger.places = of_colour(request.places, numbers, request.colour, context.free)
            yield request


def _placed_chain(chain: Chain, ledger: _Places) -> Chain:
    """The chain, telling the ledger what it codes where."""
    tables = _Costs(chain.gaussians, ledger), _Costs(chain.forward_table, ledger)
    placed = Chain(chain.network, *tables, chain.levels)
    placed.reverse = [
        _PlacedConditional(chain.network, tables[0], k, ledger) for k in range(len(chain.levels))
    ]
    return placed


def bit_map(data: bytes, *, model: ModelOption = None, progress: Progress = no_progress) -> BitMap:
    """The bytes of a .bbk file of one image -> BitMap; decodes it on the CPU.

    Options as decode_image.  Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an
    archive.
    """
    header, payload = container.read(data)
    if header.archive:
        raise UnsupportedImage("an archive of images; a map shows one image")
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
    images = [turned(np.empty(header.sizes[0], np.uint8), header.flips)]
    chain, lanes, top, masks, _ = prior_codec.open_stack(header, payload, chosen, images)
    segments = locate(header.sizes, header.start, header.segments)
    ledger = _Places(maps, segments, masks)
    pop_segments(
        _placed_chain(chain, ledger),
        lanes,
        images,
        header.start,
        header.segments,
        top,
        progress,
        masks,
        _CountedCosts(header.sharpness, ledger) if header.sharpness else None,
        ledger,
    )
    credit = 8 * (header.credit_bytes + -header.credit_bytes % 4)
    start = 8 * len(split_parts(lanes.credit(header.credit_bytes), header)[3])
    _, rows, columns = header.start
    if rows:
        fallback[:rows, :columns] = start / (rows * columns)
    rest["other fallback parts"] = credit - start * bool(rows)
    rest["closing"] = 8 * len(payload) - credit - round(float(ledger.maps.sum()))
    return BitMap(
        np.stack([turned(one, header.flips) for one in ledger.maps]),
        turned(fallback, header.flips),
        (0.0, *sigmas(chosen.levels)),
        _used(rest),
    )


def _used(rest):
    return {name: bits for name, bits in rest.items() if bits}
