"""Colours that occur: p(x | y_0) made sharper by the pixels that were decoded before.

An image that passed from one colour space to another in 8 bits uses few of all colours: a Photo CD scan one in nine, a decoded
JPEG or video frame leaves gaps too.  No denoiser sees that through noise, but who counts the colours decoded so far knows which values
follow G, and G and R.  In step 0 each value's frequency in a window around the mean is weighed by

    w = 16 n + (S share >> 4) + prior       n: how often the value was seen after these G and R; S: the sum of n over the window

and what lies outside the window, or is no pixel, by S instead of 16 n, and by 0.  share and prior are small where few colours occur
and large where all do; which, the encoder tries and the file says.  Counts begin at zero, no table is sent.  All of it is integers (ARITHMETIC.md, section 12).
"""

import numpy as np

from bitsback.ans.gaussian_tables import CENTRE, ESCAPE, FRACTION_BITS, FRACTIONS, TOTAL

SHARPNESS = (
    (0, 1),
    (1, 1),
    (1, 5),
    (3, 5),
    (8, 8),
    (32, 32),
)  # (share, prior), by number from 1 on
BEHIND, AHEAD = 7, 8  # the window: values from floor(mean) - 7 to floor(mean) + 8
WIDTH = BEHIND + AHEAD + 1
MAX_COUNT = 1023  # n counts no further
FIRST_CHUNK = 128  # values until the counts are looked at again; then a quarter more each time
RED, GREEN, BLUE = 0, 1, 2


def chunks(size):
    """Slices of an array of `size` values, each coded by the counts of all before it."""
    ends, length = [0], FIRST_CHUNK
    while ends[-1] < size:
        ends.append(min(size, ends[-1] + length))
        length += length >> 2
    return [slice(begin, end) for begin, end in zip(ends, ends[1:])]


def _byte(values):
    """Pixels - 128 -> 0..255; what is none, in a damaged file, counts as the nearest."""
    return np.clip(values, -128, 127).astype(np.int64) + 128


class Recorder:
    """In place of Colours where distributions are wanted: keeps the arrays of a push, pushes nothing."""

    arrays = ()

    def asked(self, x, colour):
        return Colours.asked(x, colour)

    def count(self, kind, key, values, times=1):
        """Nothing is counted."""

    def push(self, stack, gaussians, arrays):
        self.arrays = arrays


class Colours:
    """Counts of the colours seen, and the codec of values under them.  sharpness: 1..len(SHARPNESS); counted: how many values are in the counts."""

    def __init__(self, sharpness):
        self.share, self.prior = SHARPNESS[sharpness - 1]
        self.counted, self._counts = 0, {}

    def _table(self, kind):
        if kind not in self._counts:
            self._counts[kind] = np.zeros(
                {"gray": 2**8, GREEN: 2**8, RED: 2**16, BLUE: 2**24}[kind], np.int32
            )
        return self._counts[kind]

    @staticmethod
    def asked(x, colour):
        """(kind of table, (B, n) int64 place of value 0 in it for each value) of one colour of x (B, 3 or 1, n), pixels - 128."""
        if x.shape[1] == 1 or colour == GREEN:
            return "gray" if x.shape[1] == 1 else GREEN, np.zeros(x[:, 0].shape, np.int64)
        key = _byte(x[:, GREEN])
        if colour == BLUE:
            key = key << 8 | _byte(x[:, RED])
        return colour, key << 8

    def count(self, kind, key, values, times=1):
        """Adds `times` to the counts of values (n,) after key (n,)."""
        np.add.at(self._table(kind), key + _byte(values), times)
        self.counted += times * len(values)

    def count_all(self, x, times=1):
        """Adds `times` for every pixel of x (B, 3 or 1, H, W), pixels - 128."""
        x = x.reshape(*x.shape[:2], -1)
        for colour in range(x.shape[1]):
            kind, key = self.asked(x, colour)
            self.count(kind, key.ravel(), x[:, colour].ravel(), times)

    def _seen(self, gaussians, kind, key, mean32, scale):
        """What frequencies are made of: frequencies of the window (WIDTH, n) and elsewhere (n,), int64; whether a pixel (WIDTH, n), or None where all are; counts (WIDTH, n), int32."""
        rows = scale * FRACTIONS + (mean32 & (FRACTIONS - 1))
        window, elsewhere = gaussians.window(CENTRE - BEHIND, CENTRE + AHEAD + 1)
        first = (mean32 >> FRACTION_BITS) + (128 - BEHIND)
        value, inside = first + np.arange(WIDTH, dtype=np.int32)[:, None], None
        if len(first) and (first.min() < 0 or first.max() + WIDTH > 256):
            inside = (value >= 0) & (value < 256)
            np.clip(value, 0, 255, out=value)
        n = np.minimum(self._table(kind)[key + value], MAX_COUNT)
        if inside is not None:
            n *= inside
        return window.take(rows, 1), elsewhere.take(rows), inside, n

    @staticmethod
    def _weighed(window, elsewhere, inside, n, share, prior):
        """(WIDTH + 1, n) int64 frequencies of what _seen gives: values down, so that sums are of whole rows."""
        total = n.sum(0, dtype=np.int64)
        even = (total * share >> 4) + prior
        weighed = np.empty((WIDTH + 1, len(total)), np.int64)
        weights = np.multiply(n, 16, out=weighed[:WIDTH])
        weights += even
        if inside is not None:
            weights *= inside
        weights *= window
        np.multiply(elsewhere, total + even, out=weighed[WIDTH])
        sums = weighed.sum(0)
        weighed *= TOTAL - WIDTH - 1
        weighed //= sums
        weighed += 1
        weighed[BEHIND] += TOTAL - weighed.sum(
            0
        )  # what rounding down left over, at most 17: to the value at the mean
        return weighed

    def frequencies(self, gaussians, kind, key, mean32, scale):
        """(n, WIDTH + 1) int64, each row of sum 2^24: values of the window, then all others together."""
        return self._weighed(
            *self._seen(gaussians, kind, key, mean32, scale), self.share, self.prior
        ).T

    @staticmethod
    def _symbols(values, mean32):
        """(symbols, where they are that of all other values) of values that are known."""
        symbols = values - (mean32 >> FRACTION_BITS) + BEHIND
        far = (symbols < 0) | (symbols >= WIDTH)
        return np.where(far, WIDTH, symbols), far

    def push(self, stack, gaussians, arrays):
        """arrays: [(kind, key, values, mean32, scale)] of a step in the order of decoding, (n,) each; all have been counted, and are not any more then.

        Errors: ValueError where fewer values have been counted.
        """
        if self.counted < sum(len(values) for _, _, values, _, _ in arrays):
            raise ValueError("what is pushed has not been counted")
        for kind, key, values, mean32, scale in reversed(arrays):
            for here in reversed(
                chunks(len(values))
            ):  # each by the counts that its decoder will have
                self.count(kind, key[here], values[here], -1)
                symbols, far = self._symbols(values[here], mean32[here])
                stack.push_uniform(values[here][far] + ESCAPE // 2, ESCAPE)
                stack.push_each(
                    symbols, self.frequencies(gaussians, kind, key[here], mean32[here], scale[here])
                )

    def information_bits(self, gaussians, arrays, every=1):
        """(len(SHARPNESS),) float64: what push would cost, about, under each sharpness; of every n-th value only, though all are counted, from now on."""
        bits = np.zeros(len(SHARPNESS))
        for kind, key, values, mean32, scale in arrays:
            for here in chunks(len(values)):
                some = slice(here.start + -here.start % every, here.stop, every)
                symbols, far = self._symbols(values[some], mean32[some])
                seen, each = (
                    self._seen(gaussians, kind, key[some], mean32[some], scale[some]),
                    np.arange(len(symbols)),
                )
                bits += [
                    np.sum(np.log2(TOTAL / self._weighed(*seen, *pair)[symbols, each]))
                    + 16 * np.count_nonzero(far)
                    for pair in SHARPNESS
                ]
                self.count(kind, key[here], values[here])
        return bits

    def pop(self, stack, gaussians, kind, key, mean32, scale):
        """One array of push: (n,) int32, which it counts.  Errors: StackEmpty."""
        values = np.empty(len(key), np.int32)
        for here in chunks(len(key)):
            symbols = stack.pop_each(
                self.frequencies(gaussians, kind, key[here], mean32[here], scale[here])
            )
            some, far = symbols + (mean32[here] >> FRACTION_BITS) - BEHIND, symbols == WIDTH
            some[far] = stack.pop_uniform(int(far.sum()), ESCAPE) - ESCAPE // 2
            values[here] = some
            self.count(kind, key[here], some)
        return values
