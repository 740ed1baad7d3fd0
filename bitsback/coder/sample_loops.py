"""Samples in coding order, masks and the noise of the context, by compiled loops.

The same functions as in sample_arrays.py, with the same results; arrays are on the host.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bitsback.ans.colour_counts import GREEN, Table
from bitsback.ans.colour_loops import byte
from bitsback.ans.compiled import compiled
from bitsback.ans.gaussian_tables import (
    CENTRE,
    COLUMNS,
    FRACTION_BITS,
    FRACTIONS,
    Gaussians,
)
from bitsback.coder import sample_arrays
from bitsback.diffusion.levels import Levels, forward_shift
from bitsback.diffusion.passes import Places
from bitsback.team import LEAST, parts, shared_out

empty, count_fixed = sample_arrays.empty, sample_arrays.count_fixed

EVERYWHERE = np.empty((0, 0, 0, 0), np.bool_)  # in place of a mask, where all samples are free


def _mask(free: np.ndarray | None) -> np.ndarray:
    return EVERYWHERE if free is None else np.ascontiguousarray(free)


@compiled
def _keep(values, free, kept):
    count = 0
    for i in range(values.size):
        if free[i]:
            kept[count] = values[i]
            count += 1
    return count


def free_values(values: np.ndarray, free: np.ndarray | None) -> np.ndarray:
    if free is None:
        return values.ravel()
    kept = np.empty(values.size, values.dtype)
    return kept[: _keep(values.ravel(), free.ravel(), kept)]


@compiled
def _place(coded, fixed, free, values):
    first, second = 0, 0
    for i in range(values.size):
        if free[i]:
            values[i] = coded[first]
            first += 1
        else:
            values[i] = fixed[second]
            second += 1


def placed(coded: np.ndarray, fixed: np.ndarray, free: np.ndarray) -> np.ndarray:
    if len(coded) + len(fixed) != free.size or np.count_nonzero(free) != len(coded):
        raise ValueError("as many values as samples")
    values = np.empty(free.size, np.int32)
    _place(coded, fixed, free.ravel(), values)
    return values.reshape(free.shape)


@compiled
def _put_fixed(values, fixed, free):
    count = 0
    for i in range(values.size):
        if not free[i]:
            values[i] = fixed[count]
            count += 1


def put_fixed(values: np.ndarray, fixed: np.ndarray, free: np.ndarray) -> None:
    if free.size - np.count_nonzero(free) != len(fixed):
        raise ValueError("as many values as samples")
    _put_fixed(values.reshape(-1), fixed, free.ravel())


def for_each_line(loop: Callable[..., Any], lines: np.ndarray, n: int, *arguments: Any) -> None:
    """loop(lines, *arguments), the lines shared out to threads.  n: values in all of them."""
    least = LEAST * len(lines) // max(n, 1) + 1
    calls = [(lines[begin:end], *arguments) for begin, end in parts(len(lines), least)]
    shared_out(loop, calls)


@compiled
def _get(lines, array, colour, here):
    width = array.shape[3]
    for image, row, first, stride, begin in lines:
        line, found = array[image, colour, row, first::stride], here[begin:]
        for i in range((width - first + stride - 1) // stride):
            found[i] = line[i]


@compiled
def _get_free(lines, array, colour, free, here):
    count = 0
    for image, row, first, stride, _ in lines:
        for column in range(first, array.shape[3], stride):
            if free[image, colour, row, column]:
                here[count] = array[image, colour, row, column]
                count += 1
    return count


def of_colour(
    places: Places, array: np.ndarray, colour: int, free: np.ndarray | None
) -> np.ndarray:
    array, lines = np.ascontiguousarray(array), places.lines(len(array))
    here = np.empty(len(array) * places.n, array.dtype)
    if free is None:
        for_each_line(_get, lines, len(here), array, colour, here)
        return here
    return here[: _get_free(lines, array, colour, np.ascontiguousarray(free), here)]


@compiled
def _put(lines, array, colour, coded):
    width = array.shape[3]
    for image, row, first, stride, begin in lines:
        line, found = array[image, colour, row, first::stride], coded[begin:]
        for i in range((width - first + stride - 1) // stride):
            line[i] = found[i]


@compiled
def _put_free(lines, array, colour, free, coded):
    count = 0
    for image, row, first, stride, _ in lines:
        for column in range(first, array.shape[3], stride):
            if free[image, colour, row, column]:
                array[image, colour, row, column] = coded[count]
                count += 1


def put(
    places: Places, array: np.ndarray, colour: int, free: np.ndarray | None, coded: np.ndarray
) -> None:
    lines = places.lines(len(array))
    if free is None:
        for_each_line(_put, lines, len(coded), array, colour, coded)
    else:
        _put_free(lines, array, colour, np.ascontiguousarray(free), coded)


@compiled
def _write_keys(lines, x, colour, free, keys):
    masked, count = free.size > 0, 0
    for image, row, first, stride, _ in lines:
        for column in range(first, x.shape[3], stride):
            if not masked or free[image, colour, row, column]:
                key = byte(x[image, 1, row, column])
                if colour == 2:
                    key = key << 8 | byte(x[image, 0, row, column])
                keys[count] = key << 8
                count += 1
    return count


def counted(
    places: Places, x: np.ndarray, colour: int, free: np.ndarray | None
) -> tuple[Table, np.ndarray]:
    if x.shape[1] == 1 or colour == GREEN:
        n = len(x) * places.n
        if free is not None:
            n = int(np.count_nonzero(places.of_colour(free, colour)))
        return "gray" if x.shape[1] == 1 else GREEN, np.zeros(n, np.int64)
    keys, lines = np.empty(len(x) * places.n, np.int64), places.lines(len(x))
    count = _write_keys(lines, np.ascontiguousarray(x), colour, _mask(free), keys)
    return colour, keys[:count]


@compiled
def _noise(previous, shape, free, shift, edges, base, result):
    """Moves samples one level up: of all places of shape, or of those that are not free."""
    images, channels, rows, columns = shape
    masked, i = free.size > 0, 0
    for image in range(images):
        for channel in range(channels):
            for row in range(rows):
                for column in range(columns):
                    if masked and free[image, channel, row, column]:
                        continue
                    z = base + (np.uint64(channel) << np.uint64(48))
                    z += (np.uint64(row) << np.uint64(24)) + np.uint64(column)
                    z += np.uint64(0x9E3779B97F4A7C15)
                    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                    bits = np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(40))
                    fine = np.int32(previous[i] << FRACTION_BITS)
                    mean32 = np.int32(fine >> shift if shift >= 0 else fine << -shift)
                    fraction = mean32 & (FRACTIONS - 1)
                    low, high = 0, COLUMNS - 1  # the first column whose edge exceeds the bits
                    while low < high:
                        middle = (low + high) >> 1
                        if edges[fraction, middle] > bits:
                            high = middle
                        else:
                            low = middle + 1
                    result[i] = low + (mean32 >> FRACTION_BITS) - CENTRE
                    i += 1


def _noised(forward, levels, k, side, previous, shape, free):
    rows = forward.frequencies[k * FRACTIONS : (k + 1) * FRACTIONS]
    result = np.empty(previous.size, np.int32)
    base = np.uint64(k << 50 | side << 46)
    shift, edges = forward_shift(levels, k), rows.cumsum(1, dtype=np.int32)
    _noise(previous.ravel(), shape, free, shift, edges, base, result)
    return result


def noised(
    forward: Gaussians, levels: Levels, k: int, side: int, previous: np.ndarray
) -> np.ndarray:
    shape = previous.shape
    return _noised(forward, levels, k, side, previous, shape, EVERYWHERE).reshape(shape)


def noised_where(
    forward: Gaussians, levels: Levels, k: int, side: int, previous: np.ndarray, free: np.ndarray
) -> np.ndarray:
    return _noised(forward, levels, k, side, previous, free.shape, _mask(free))
