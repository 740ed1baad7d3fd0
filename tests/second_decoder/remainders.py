"""Remainders of 16-bit images (ARITHMETIC.md, section 14), sample by sample in Python integers."""

from itertools import accumulate

import numpy as np

from tests.second_decoder.errors import check
from tests.second_decoder.integers import B, G, R
from tests.second_decoder.lanes import Lanes
from tests.second_decoder.passes import PASSES
from tests.second_decoder.reader import Reader

PER_LANE = 98304  # samples
STRAIGHT, DIAGONAL = ((-1, 0), (1, 0), (0, -1), (0, 1)), ((-1, -1), (-1, 1), (1, -1), (1, 1))


def frequencies(table, m, d, t, q):
    """Cumulative, of a digit of t bits with q below; table: cumulative rows."""
    e = 8 * d - 16 * q
    j = min(max((e - 97) >> 4, 0), 4)
    e, h = min(max(e - 16 * j, 0), 112), q + j
    mean = min(max((m - 16 * (2**h - 1)) >> h, -512), 991)
    row, first = table[32 * e + (mean & 31)], 31 - (mean >> 5)
    x = [row[first + (i >> j) + 1] - row[first + (i >> j)] for i in range(2**t)]
    y = [one + (sum(x) >> 6 + t) for one in x]
    found = [one * (2**24 - 2**t) // sum(y) + 1 for one in y]
    found[0] += 2**24 - sum(found)
    return [0, *accumulate(found)]


def decode(model, data, coarse, k, pixels=2**18):
    """The part of an image -> its numbers, (H, W, C); coarse: (H, W, C), their upper 8 bits.

    pixels: of a strip, fewer for a quick test.
    """
    height, width, channels = coarse.shape
    count, reader = 4 + 3 * (channels - 1), Reader(data)
    weights = [reader.z(2**12) for _ in range(4 * channels * count)]
    weights = np.array(weights).reshape(4, channels, count)
    deviations = [reader.z(32) for _ in range(2 * channels * 22)]
    deviations = np.array(deviations).reshape(2, channels, 22).cumsum(2)
    check(0 <= deviations.min() and deviations.max() <= 31, "a deviation")
    opened = max(1, min(4096, coarse.size // PER_LANE))
    lanes = Lanes(reader.rest())
    lanes.open(opened)
    rows, numbers = max(2, pixels // width // 2 * 2), np.zeros(coarse.shape, int)
    for top in range(0, height, rows):
        u = 2 * (coarse[top : top + rows].astype(int) << k) + 2**k - 1
        numbers[top : top + rows] = strip(model, lanes, u, k, weights, deviations)
    lanes.narrow(0)
    check(not any(lanes.credit(4 * opened)), "remainders do not end where they began")
    return numbers


def strip(model, lanes, u, k, weights, deviations):
    known, numbers, (height, width, channels) = u.copy(), np.zeros_like(u), u.shape

    def near(colour, row, column, down, across):
        there = min(max(row + down, 0), height - 1), min(max(column + across, 0), width - 1)
        return int(known[there][colour] - known[row, column, colour])

    for number, ((top, left, _),) in enumerate(PASSES[4]):
        for c in (G, R, B) if channels == 3 else (0,):
            places = [(i, j) for i in range(top, height, 2) for j in range(left, width, 2)]
            means, used = [], []
            for place in places:
                of = lambda o, offsets: [near(o, *place, *offset) for offset in offsets]  # noqa
                own = of(c, STRAIGHT + DIAGONAL)
                far = of(c, [(2 * i, 2 * j) for i, j in STRAIGHT])
                f = [sum(own[:2]), sum(own[2:4]), sum(own[4:]), sum(far)]
                for o in range(channels):
                    if o != c:
                        f += [known[place][o] - u[place][o], sum(of(o, STRAIGHT))]
                        f += [sum(of(o, DIAGONAL))]
                p = sum(int(w) * int(one) for w, one in zip(weights[number, c], f))
                distance = sum(abs(one - (p >> 8)) for one in own)
                context = sum(2**i <= distance for i in range(1, 22))
                means.append(((p + 8) >> 4) + 16 * (2**k - 1))
                used.append(int(deviations[min(number, 1), c, context]))
            values, left_bits = [0] * len(places), k
            while left_bits:
                t = min(4, left_bits)
                left_bits -= t
                digits = lanes.pop_symbols(
                    [
                        frequencies(model.p, m - 32 * v, d, t, left_bits)
                        for m, v, d in zip(means, values, used)
                    ],
                    (),
                )
                values = [v + (digit << left_bits) for v, (digit, _) in zip(values, digits)]
            for place, value in zip(places, values):
                known[place][c] += 2 * value - 2**k + 1
                numbers[place][c] = ((int(u[place][c]) - 2**k + 1) >> 1) + value
    return numbers
