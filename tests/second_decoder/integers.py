"""Rounding, and the order of numbers in the network (ARITHMETIC.md, sections 0 and 6)."""

import numpy as np

R, G, B = 0, 1, 2


def half_up(value, bits):
    return (value + (1 << (bits - 1))) >> bits


def half_even(value, bits):
    """`bits` an int or an array that broadcasts with `value`."""
    value, bits = np.broadcast_arrays(np.asarray(value, np.int64), np.asarray(bits, np.int64))
    right = np.maximum(bits, 1)
    floor = value >> right
    rest, half = value - (floor << right), np.int64(1) << (right - 1)
    rounded = floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))
    return np.where(bits > 0, rounded, value << np.maximum(-bits, 0))


def act(value):
    return half_even(value, 4).clip(0, 255)


def unshuffle(a):
    c, h, w = a.shape
    return (
        a.reshape(c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3).reshape(4 * c, h // 2, w // 2)
    )


def shuffle(a):
    c, h, w = a.shape
    return a.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)
