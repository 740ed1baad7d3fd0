"""Where each coded value lies and what it costs: a ledger that spreads its entries over pixels.

A chain is rebuilt of parts that tell the ledger, before each entry, which values it is about.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bitsback.ans.colour_counts import ColourCounts, Table
from bitsback.ans.colour_frequencies import ESCAPE_BITS, symbols_of
from bitsback.ans.gaussian_tables import TOTAL, Gaussians
from bitsback.ans.lanes import Lanes
from bitsback.codecs.segment_layout import Segment
from bitsback.codecs.segments import Masks, blocks
from bitsback.coder.chain import Chain
from bitsback.coder.conditional import Conditional
from bitsback.coder.context import Array, Context
from bitsback.coder.distributions import Distributions, Request
from bitsback.coder.fastest import sample_functions
from bitsback.coder.ledger import Ledger


class MapLedger(Ledger):
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


class ValueCosts(Gaussians):
    """Tells a MapLedger what each value costs that is pushed or popped."""

    def __init__(self, gaussians: Gaussians, ledger: MapLedger) -> None:
        super().__init__(gaussians.frequencies)
        self.ledger = ledger

    def push(self, lanes: Any, values: Any, mean32: Any, scale: Any, escapes: bool = True) -> None:
        super().push(lanes, values, mean32, scale, escapes)
        self.ledger.costs = self.bits_of_each(values, mean32, scale, escapes)

    def pop(self, lanes: Any, mean32: Any, scale: Any, escapes: bool = True) -> Any:
        values = super().pop(lanes, mean32, scale, escapes)
        self.ledger.costs = self.bits_of_each(values, mean32, scale, escapes)
        return values


class CountedCosts(ColourCounts):
    """The same for values under colour counts."""

    def __init__(self, sharpness: int, ledger: MapLedger) -> None:
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
        self._costs: list[np.ndarray] = []
        values = super().pop(lanes, gaussians, table, keys, mean32, scale)
        self.ledger.costs = np.concatenate([np.zeros(0), *self._costs])
        return values

    def _pop_chunk(
        self,
        lanes: Lanes,
        gaussians: Gaussians,
        table: Table,
        keys: np.ndarray,
        mean32: np.ndarray,
        scale: np.ndarray,
    ) -> np.ndarray:
        rows = keys, mean32, scale
        found = self.frequencies(gaussians, table, *rows)
        values = super()._pop_chunk(lanes, gaussians, table, *rows)
        symbols, escaped = symbols_of(values, mean32)
        own = found[np.arange(len(symbols)), symbols]
        self._costs.append(np.log2(TOTAL / own) + ESCAPE_BITS * escaped)
        return values


class PlacedStep(Distributions):
    """Tells a MapLedger where the values of each request lie."""

    ledger: MapLedger

    def __iter__(self) -> Iterator[Request]:
        shape = self._values.shape
        numbers = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
        of_colour = sample_functions(numbers).of_colour
        for request in super().__iter__():
            free = self._context.free
            self.ledger.places = of_colour(request.places, numbers, request.colour, free)
            yield request


class PlacedConditional(Conditional):
    """Steps of this kind."""

    ledger: MapLedger

    def _step(
        self, y: Array, values: Array, context: Context, known: bool, counts: Any
    ) -> Distributions:
        arrays = y, values, context
        step = PlacedStep(self.network, self.index, *arrays, known, bool(counts), self.whole)
        step.ledger = self.ledger
        return step


def placed_chain(chain: Chain, ledger: MapLedger) -> Chain:
    """The chain, telling the ledger what it codes where."""
    tables = ValueCosts(chain.gaussians, ledger), ValueCosts(chain.forward_table, ledger)
    placed = Chain(chain.network, *tables, chain.levels, whole=chain.whole)
    steps = [
        PlacedConditional(chain.network, tables[0], step.index, step.whole)
        for step in placed.reverse
    ]
    for one in steps:
        one.ledger = ledger
    placed.reverse = [*steps]
    return placed
