"""Triton kernels of colour counts: frequencies, value by value in parallel, and counting.

They compute the integers of colour_frequencies.py.  TRITON_INTERPRET=1 runs them on CPU tensors.
"""

import triton
import triton.language as tl
from torch import Tensor

from bitsback.ans import colour_frequencies as reference
from bitsback.ans import gaussian_tables
from bitsback.ans.launch import launch
from bitsback.ans.row_table import CENTRE

BLOCK = 64
BEHIND = tl.constexpr(reference.BEHIND)
WIDTH = tl.constexpr(reference.WIDTH)
MAX_COUNT = tl.constexpr(reference.MAX_COUNT)
FIRST = tl.constexpr(CENTRE - reference.BEHIND)  # column of the Gaussian table: the window's first
TOTAL = tl.constexpr(gaussian_tables.TOTAL)
# what symbols get by their weight: the window's and the escape have 1 more each
SHARED = tl.constexpr(gaussian_tables.TOTAL - reference.WIDTH - 1)


@triton.jit(do_not_specialize="counts keys mean32 scale ends n share base".split())
def ends_kernel(
    frequencies, counts, keys, mean32, scale, ends, n, share, base, BLOCK: tl.constexpr
):
    """ends (18, n) int32: cumulative frequencies of 17 symbols of each value, then symbol 0's."""
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = (j < n)[:, None]
    k = tl.arange(0, 32)[None, :]
    mean = tl.load(mean32 + j, mask=j < n, other=0)
    row = tl.load(scale + j, mask=j < n, other=0) * 32 + (mean & 31)
    key = tl.load(keys + j, mask=j < n, other=0)
    window = k < WIDTH
    inside = tl.load(frequencies + row[:, None] * 64 + FIRST + k, mask=ok & window, other=0)
    outside = ((TOTAL - tl.sum(inside, 1)) >> 4) + 1
    place = (mean >> 5)[:, None] + (128 - BEHIND) + k
    pixel = ok & window & (place >= 0) & (place < 256)
    count = tl.load(counts + key[:, None] + place, mask=pixel, other=0)
    count = tl.minimum(count, MAX_COUNT)
    total = tl.sum(count, 1)
    even = ((total * share) >> 4) + base
    weight = ((inside >> 4) + 1).to(tl.int64) * (count * 16 + even[:, None]).to(tl.int64)
    weight = tl.where(pixel, weight, 0)
    escape = outside.to(tl.int64) * (total + even).to(tl.int64)
    weight = tl.where(k == WIDTH, escape[:, None], weight)
    whole = tl.sum(weight, 1)
    found = (weight * SHARED) // whole[:, None] + 1
    found = tl.where(k <= WIDTH, found, 0).to(tl.int32)
    rest = TOTAL - tl.sum(found, 1)
    found = tl.where(k == BEHIND, found + rest[:, None], found)
    there = ends + k * n + j[:, None]
    tl.store(there, tl.cumsum(found, 1), mask=ok & (k <= WIDTH))
    tl.store(ends + (WIDTH + 1) * n + j, (mean >> 5) - BEHIND, mask=j < n)


@triton.jit(do_not_specialize="counts keys values n times".split())
def count_kernel(counts, keys, values, n, times, BLOCK: tl.constexpr):
    """Adds `times` to the counts of values after keys."""
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = j < n
    value = tl.load(values + j, mask=ok, other=0)
    byte = tl.minimum(tl.maximum(value, -128), 127) + 128
    index = tl.load(keys + j, mask=ok, other=0) + byte
    tl.atomic_add(counts + index, value * 0 + times, mask=ok)


def symbols(
    frequencies: Tensor,
    counts: Tensor,
    keys: Tensor,
    mean32: Tensor,
    scale: Tensor,
    share: int,
    base: int,
) -> tuple[Tensor, Tensor]:
    """(n,) int32, the value of the first symbol of each, and colour_tensors.ends.

    Arguments are those of colour_tensors.ends, contiguous.
    """
    n = keys.shape[0]
    found = keys.new_empty((18, n))
    if n:
        arrays = frequencies, counts, keys, mean32, scale, found
        launch(ends_kernel, (-(-n // BLOCK),), *arrays, n, share, base, BLOCK=BLOCK)
    return found[17], found[:17]


def count(counts: Tensor, keys: Tensor, values: Tensor, times: int) -> None:
    """As colour_tensors.count, of contiguous arrays."""
    n = keys.shape[0]
    if n:
        launch(count_kernel, (-(-n // 256),), counts, keys, values, n, times, BLOCK=256)
