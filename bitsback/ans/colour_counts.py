"""Colour counts: p(x | y_0) reweighted by how often each colour has been decoded so far.

An image that passed from one colour space to another in 8 bits uses few of all colours: a Photo CD
scan one in nine; a decoded JPEG or video frame leaves gaps too.  A denoiser cannot see that through
noise, but counts of the values that followed the same G, or G and R, show which values occur
(colour_frequencies.py has the formula).  Counts start at zero and no table is sent.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from bitsback.ans import colour_frequencies
from bitsback.ans.colour_frequencies import SHARPNESS, byte, reweighted, window
from bitsback.ans.gaussian_tables import Gaussians
from bitsback.ans.lanes import Lanes

# An array is cut into this many chunks of equal length, each coded by the counts of all before it.
# 12 save as many bits (100.1 % on 71 training images, model 4a23efd3) as up to 28 that grow by
# a quarter from 128 values on; 10 save 99.4 % of that, 6 save 97.5 %, 4 save 94.3 %.
CHUNKS = 12
LEAST_CHUNK = 256  # but no chunk is shorter, except the last
RED, GREEN, BLUE = 0, 1, 2
Table = int | str
TABLE_SIZES: dict[Table, int] = {"gray": 2**8, GREEN: 2**8, RED: 2**16, BLUE: 2**24}


class PixelArray(NamedTuple):
    """One array of pixel values, all (n,): what `ColourCounts.push` codes.

    table, keys: as `table_and_keys` returns them; values: int32, pixels - 128; mean32 and scale:
    int32, the row of the Gaussian table of each value.
    """

    table: Table
    keys: np.ndarray
    values: np.ndarray
    mean32: np.ndarray
    scale: np.ndarray


def chunks(size: int) -> list[slice]:
    """Slices of an array of `size` values; each is coded by the counts of all values before it."""
    length = max(LEAST_CHUNK, -(-size // CHUNKS))
    return [slice(begin, min(begin + length, size)) for begin in range(0, size, length)]


def table_and_keys(x: np.ndarray, colour: int) -> tuple[Table, np.ndarray]:
    """(name of a table of counts, (B, n) int64 index of value -128 in it) for one colour of pixels.

    x: (B, 3 or 1, n), pixels - 128.  R is counted after G, B after G and R.
    """
    if x.shape[1] == 1 or colour == GREEN:
        return "gray" if x.shape[1] == 1 else GREEN, np.zeros(x[:, 0].shape, np.int64)
    keys = byte(x[:, GREEN])
    if colour == BLUE:
        keys = keys << 8 | byte(x[:, RED])
    return colour, keys << 8


def fastest() -> ModuleType:
    """The compiled loops where numba is installed, else those in numpy."""
    from bitsback.ans.compiled import compiled_or

    return compiled_or(colour_frequencies, "bitsback.ans.colour_loops")


class ColourCounts:
    """Counts of the colours seen so far, and the codec of pixel values under them.

    sharpness: 1..len(SHARPNESS); loops: colour_frequencies or colour_loops, which do the same; None
    for the faster.  counted: how many values are in the counts.
    """

    def __init__(self, sharpness: int, loops: ModuleType | None = None):
        self.share, self.base = SHARPNESS[sharpness - 1]
        self.loops = fastest() if loops is None else loops
        self.counted = 0
        self._tables: dict[Table, np.ndarray] = {}
        self._changes: list[tuple[Table, np.ndarray, int]] | None = None  # since `snapshot`

    def _table(self, table: Table) -> np.ndarray:
        if table not in self._tables:
            self._tables[table] = np.zeros(TABLE_SIZES[table], np.int32)
        return self._tables[table]

    def snapshot(self) -> None:
        """Marks the state that `restore` returns to, in place of any earlier one.

        The tables have up to 2^24 entries: changes are written down, nothing is copied.
        """
        self._changes = []

    def restore(self) -> None:
        """Undoes all changes since `snapshot`, and ends it."""
        changes, self._changes = self._changes or [], None
        for table, indices, times in reversed(changes):
            self.loops.add(self._table(table), indices, -times)
            self.counted -= times * len(indices)

    def count(self, table: Table, keys: np.ndarray, values: np.ndarray, times: int = 1) -> None:
        """Adds `times` to the counts of values (n,) after keys (n,)."""
        indices = self.loops.count(self._table(table), keys, values, times)
        self.counted += times * len(indices)
        if self._changes is not None:
            self._changes.append((table, indices, times))

    def count_all(self, x: np.ndarray, times: int = 1, which: np.ndarray | None = None) -> None:
        """Adds `times` for every sample of x (B, 3 or 1, H, W), pixels - 128.

        which: bool of x's shape, the samples that are counted; None for all.
        """
        x = x.reshape(*x.shape[:2], -1)
        for colour in range(x.shape[1]):
            table, keys = table_and_keys(x, colour)
            if which is None:
                self.count(table, keys.ravel(), x[:, colour].ravel(), times)
            else:
                here = which[:, colour].reshape(keys.shape)
                self.count(table, keys[here], x[:, colour][here], times)

    def count_pixels(self, pixels: np.ndarray, times: int = 1) -> None:
        """As count_all, of (H, W, 3 or 1) uint8; `restore` does not undo it."""
        tables: tuple[Table, ...] = ("gray",) if pixels.shape[2] == 1 else (GREEN, RED, BLUE)
        self.loops.count_pixels([self._table(table) for table in tables], pixels, times)
        self.counted += times * pixels.size

    def push(self, lanes: Lanes, gaussians: Gaussians, array: PixelArray) -> None:
        """Pushes one array whose values are in the counts, and removes them from the counts.

        Errors: ValueError where fewer values than these have been counted.
        """
        if self.counted < len(array.values):
            raise ValueError("what is pushed has not been counted")
        counts, sharpness = self._table(array.table), (self.share, self.base)
        for part in reversed(chunks(len(array.values))):
            keys, values, mean32, scale = (whole[part] for whole in array[1:])
            self.count(array.table, keys, values, -1)  # what their decoder will not have counted
            self.loops.push(lanes, gaussians, counts, keys, values, mean32, scale, *sharpness)

    def pop(
        self,
        lanes: Lanes,
        gaussians: Gaussians,
        table: Table,
        keys: np.ndarray,
        mean32: np.ndarray,
        scale: np.ndarray,
    ) -> np.ndarray:
        """The mirror of push: (n,) int32, which are in the counts then.  Errors: StackEmpty."""
        values = np.empty(len(keys), np.int32)
        for part in chunks(len(keys)):
            rows = keys[part], mean32[part], scale[part]
            values[part] = self._pop_chunk(lanes, gaussians, table, *rows)
            self.count(table, keys[part], values[part])
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
        """pop's values under the counts as they are, which stay so."""
        rows = keys, mean32, scale
        return self.loops.pop(lanes, gaussians, self._table(table), *rows, self.share, self.base)

    def frequencies(
        self,
        gaussians: Gaussians,
        table: Table,
        keys: np.ndarray,
        mean32: np.ndarray,
        scale: np.ndarray,
    ) -> np.ndarray:
        """(n, WIDTH + 1) int64, each row of sum 2^24: values of the window, then the escape."""
        found = window(gaussians, self._table(table), keys, mean32, scale)
        return reweighted(found, self.share, self.base).T

    def information_bits(
        self, gaussians: Gaussians, arrays: Sequence[PixelArray], every: int = 1
    ) -> np.ndarray:
        """(len(SHARPNESS),) float64: about what the arrays, in the order of decoding, would cost.

        Nothing is pushed.  Of every n-th value only, though all values are counted from now on.
        """
        bits = np.zeros(len(SHARPNESS))
        for array in arrays:
            counts = self._table(array.table)
            for part in chunks(len(array.values)):
                some = slice(part.start + -part.start % every, part.stop, every)
                rows = (whole[some] for whole in array[1:])
                bits += self.loops.information_bits(gaussians, counts, *rows)
                self.count(array.table, array.keys[part], array.values[part])
        return bits
