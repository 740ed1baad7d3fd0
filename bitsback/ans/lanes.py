"""The ANS message of a file: interleaved states, the lanes, on one stack of 32-bit words.

An array of n values is coded in steps of L: value j is coded by lane j mod L, and a lane that needs
room gives its low word to the stack, one that runs low takes one (rANS, arXiv 1311.2540,
interleaved as in arXiv 1402.3392).  All lanes share the stack, so that every bit on it can be
borrowed.  A lane is opened with a word w of the stack, as the state 2^32 + w, and must hold 2^32
and a word again when a decoder gives it up.  ARITHMETIC.md, section 3.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from bitsback.ans import lanes_numpy
from bitsback.ans.row_table import RowTable
from bitsback.errors import DamagedFile, StackEmpty

MAX_LANES = 4096
EXPONENT_BITS = 5  # of a state's highest bit, 31..62, in the closing
OPENED = 32  # place of the highest bit of a lane that has just been opened


def fastest() -> ModuleType:
    """The compiled loops where numba is installed, else those in numpy."""
    from bitsback.ans.compiled import compiled_or

    return compiled_or(lanes_numpy, "bitsback.ans.lanes_numba")


class Lanes:
    """A message that starts from `credit`: any bytes, which come back last; no lane is open yet.

    loops: lanes_numpy or lanes_numba, which do the same; None for the fastest.  Arrays are in the
    order of decoding: a push of an array is undone by one pop of the same length.  After StackEmpty
    the lanes are in no state to go on: `restore` them.
    """

    def __init__(self, credit: bytes = b"", loops: ModuleType | None = None):
        self.words = np.frombuffer(credit + bytes(-len(credit) % 4), "<u4").astype(np.uint32)
        self.count = len(self.words)
        self.state = np.empty(0, np.int64)
        self.loops = fastest() if loops is None else loops

    def __len__(self) -> int:
        """The number of open lanes."""
        return len(self.state)

    @property
    def size_bits(self) -> int:
        """Bits on the stack and in the lanes."""
        return 32 * self.count + int(self._exponents().sum())

    def _exponents(self) -> np.ndarray:
        """(L,) int64, the place of each state's highest bit, 31..62."""
        high = self.state >> 31  # float64 holds the 32 bits above exactly
        return np.frexp(high.astype(np.float64))[1].astype(np.int64) + 30

    # How many lanes

    def widen(self, lanes: int) -> None:
        """Opens lanes until there are `lanes`.  Errors: StackEmpty."""
        more = lanes - len(self)
        if more > 0:
            if more > self.count:
                raise StackEmpty("the stack ran dry")
            opened = self.words[self.count - more : self.count].astype(np.int64)
            self.state = np.concatenate([self.state, 1 << OPENED | opened])
            self.count -= more

    def narrow(self, lanes: int) -> None:
        """The mirror of widen: closes lanes until there are `lanes`.  Errors: DamagedFile."""
        closed = self.state[lanes:]
        if (closed >> OPENED != 1).any():
            raise DamagedFile("the lanes do not end where they began")
        self._make_room(len(closed))
        self.words[self.count : self.count + len(closed)] = closed & 0xFFFFFFFF
        self.count += len(closed)
        self.state = self.state[:lanes].copy()

    def to_bytes(self) -> bytes:
        """The closing of all lanes, then the words, the top of the stack first: what a file stores.

        They are little-endian, in the order in which a decoder takes them.  Closing: each state's
        exponent less 31 in 5 bits, then each state's bits below its highest, highest first, zeros
        up to a byte.
        """
        exponents = self._exponents()
        low = self.state - (np.int64(1) << exponents)
        bits = np.concatenate(
            [
                _bits(exponents - 31, np.full(len(self), EXPONENT_BITS)),
                _bits(low, exponents),
            ]
        )
        return np.packbits(bits).tobytes() + self.words[: self.count][::-1].astype("<u4").tobytes()

    @classmethod
    def from_bytes(
        cls, data: bytes, lanes: int, loops: ModuleType | None = None, cut: bool = False
    ) -> "Lanes":
        """The lanes whose `to_bytes` returned these bytes.

        cut: those at the end are missing, the words that are decoded last.  Errors: DamagedFile.
        """
        bits = np.unpackbits(np.frombuffer(data[: lanes * 9 + 1], np.uint8))
        exponents = _numbers(bits, np.full(lanes, EXPONENT_BITS)) + 31
        begin = lanes * EXPONENT_BITS
        low = _numbers(bits[begin:], exponents)
        end = begin + int(exponents.sum())
        closing = -(-end // 8)
        rest = max(0, len(data) - closing) % 4
        if bits[end : 8 * closing].any() or rest and not cut:
            raise DamagedFile("not the words of a stack")
        words = np.frombuffer(data[closing : len(data) - rest], "<u4")[::-1]
        found = cls(words.tobytes(), loops)
        found.state = (np.int64(1) << exponents) + low
        return found

    def credit(self, length: int) -> bytes:
        """The `length` bytes that the message started from, once no lane is open.

        Errors: DamagedFile.
        """
        data = self.words[: self.count].astype("<u4").tobytes()
        if len(self) or len(data) != length + -length % 4 or any(data[length:]):
            raise DamagedFile("the stack does not end where it began")
        return data[:length]

    def copy(self) -> "Lanes":
        """Lanes of the same bits."""
        other = type(self)(loops=self.loops)
        other.restore(self)
        return other

    def restore(self, other: "Lanes") -> None:
        """Undoes everything since `other = self.copy()`."""
        self.words, self.count = other.words[: other.count].copy(), other.count
        self.state = other.state.copy()

    # Arrays

    def push_gaussian(
        self,
        table: RowTable,
        values: np.ndarray,
        mean32: np.ndarray,
        scale: np.ndarray,
        escapes: bool = True,
    ) -> None:
        """values, mean32: (n,) int32; scale: (n,) or (1,) int32: rows of `table`.

        Without `escapes` the end columns stand for exactly -31 and 32 from the mean's floor.
        Errors: DamagedFile for a value without frequency.
        """
        arrays = *table, values, mean32, scale
        self.run(self.loops.push_gaussian, *arrays, escapes, room=2 * len(values))

    def pop_gaussian(
        self, table: RowTable, mean32: np.ndarray, scale: np.ndarray, escapes: bool = True
    ) -> np.ndarray:
        """The mirror of push_gaussian: (n,) int32.  Errors: StackEmpty."""
        values = np.empty(len(mean32), np.int32)
        self.run(self.loops.pop_gaussian, *table, mean32, scale, escapes, values)
        return values

    def push_each(self, values: np.ndarray, first: np.ndarray, frequencies: np.ndarray) -> None:
        """values (n,) int32, each under its own row of frequencies (n, K) int64, of sum 2^24.

        Column i < K - 1 is the value first + i (first: (n,) int32), the last one any other.
        Errors: DamagedFile for a value without frequency.
        """
        arrays = values, first, np.ascontiguousarray(frequencies)
        self.run(self.loops.push_each, *arrays, room=2 * len(values))

    def pop_each(self, first: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """The mirror of push_each: (n,) int32.  Errors: StackEmpty."""
        values = np.empty(len(first), np.int32)
        self.run(self.loops.pop_each, first, np.ascontiguousarray(frequencies), values)
        return values

    def push_uniform(self, values: np.ndarray, bits: int) -> None:
        """values: (n,) integers in 0..2^bits - 1, each for that many bits, up to 24."""
        starts = np.asarray(values, np.int64) << 24 - bits
        self.run(self.loops.push, starts, np.full(len(starts), 1 << 24 - bits), room=len(starts))

    def pop_uniform(self, n: int, bits: int) -> np.ndarray:
        """The mirror of push_uniform: (n,) int32.  Errors: StackEmpty."""
        values = np.empty(n, np.int32)
        self.run(self.loops.pop_uniform, bits, values)
        return values

    def run(self, loop: Callable[..., int], *arguments: Any, room: int = 0) -> None:
        """Calls loop(state, words, count, *arguments), which returns the new count of words.

        room: words that it pushes at most.  Errors: StackEmpty; DamagedFile for a value without
        frequency.
        """
        if not len(self):
            raise ValueError("no lane is open")
        self._make_room(room)
        count = loop(self.state, self.words, self.count, *arguments)
        if count == lanes_numpy.DRY:
            raise StackEmpty("the stack ran dry")
        if count == lanes_numpy.IMPOSSIBLE:
            raise DamagedFile("a value lies where its distribution has no frequency")
        self.count = count

    def _make_room(self, words: int) -> None:
        if self.count + words > len(self.words):
            room = np.empty(self.count + max(words, len(self.words) // 2), np.uint32)
            room[: self.count] = self.words[: self.count]
            self.words = room


def random_lanes(values: int, levels: int = 1, lanes: int = 64) -> Lanes:
    """Lanes over random bits, always the same: 4 bytes for each of `values`, a level."""
    found = Lanes(np.random.default_rng(0).bytes(4 * (values * levels + lanes + 16)))
    found.widen(lanes)
    return found


def _bits(numbers: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The lowest `widths` bits of each number, highest first, as one uint8 array of 0 and 1."""
    places = np.arange(63)[::-1]
    return (numbers[:, None] >> places & 1).astype(np.uint8)[places < widths[:, None]]


def _numbers(bits: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The mirror of _bits: int64 numbers; bits that follow are ignored.  Errors: DamagedFile."""
    if len(bits) < widths.sum():
        raise DamagedFile("not the words of a stack")
    places = np.arange(63)[::-1]
    spread = np.zeros((len(widths), 63), np.int64)
    spread[places < widths[:, None]] = bits[: widths.sum()]
    return (spread << places).sum(1)
