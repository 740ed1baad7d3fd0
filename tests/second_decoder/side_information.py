"""Flat map, block means and depths (FORMAT.md), coded by the fallback codec or as numbers."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tests.second_decoder.errors import check
from tests.second_decoder.fallback import decode_part
from tests.second_decoder.reader import Reader


def flat_map(data, sizes):
    """(images (H, W, C) uint8, masks (H, W, C) bool, False where a sample is known).

    sizes: (height, width, channels) of the turned images under the prior.
    """
    reader, images, masks = Reader(data), [], []
    for size in sizes:
        part = Reader(reader.sized())
        image, mask = np.zeros(size, np.uint8), np.full(size, True)
        if part.left:
            read_map(part, image, mask)
        images.append(image)
        masks.append(mask)
    reader.end("the flat map")
    check(not all(mask.all() for mask in masks), "a flat map without a flat block")
    return images, masks


def read_map(part, image, mask):
    height, width, channels = image.shape
    values = [list(part.take(part.n(255))) for _ in range(channels)]
    blocks = decode_part(part.rest(), (-(-height // 4), -(-width // 4), channels))
    for colour, known in enumerate(values):
        check(sorted(set(known)) == known, "values of the flat map do not rise")
        which = blocks[..., colour].repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        check(which.max() <= len(known), "a value of the flat map that is not there")
        image[..., colour] = np.array([0, *known], np.uint8)[which]
        mask[..., colour] = which == 0


def block_means(data, sizes):
    """(r, c, C) numbers 0..16, or None, for each image."""
    reader, found = Reader(data), []
    for (height, width, channels), run in groupby(sizes):
        count, part = len(list(run)), reader.sized()
        rows, columns = -(-height // 32), -(-width // 32)
        if not part:
            found += [None] * count
            continue
        grid = decode_part(part, (count * rows, columns, channels)).astype(np.int64)
        check(grid.max() <= 16, "a block mean over 16")
        found += list(grid.reshape(count, rows, columns, channels))
    reader.end("the block means")
    check(any(one is not None for one in found), "block means of no image")
    return found


@dataclass
class Depth:
    step: int
    bits: int
    length: int  # of the remainders

    def samples(self, numbers):
        """Of 16 bits, from numbers below 2^bits."""
        numbers, b, m = numbers.astype(np.int64), self.bits, 2**self.bits - 1
        if self.step >= 2:
            found = numbers * (self.step - 1)
        elif self.step:
            found = numbers << 16 - b | numbers >> 2 * b - 16
        else:
            found = (numbers * 65535 + m // 2) // m
        check(found.max() < 2**16, "a sample of more than 16 bits")
        return found


def depths(data, entries, credit):
    """Depth, or None of an image of 8 bits, for each image under the prior; credit: its bytes."""
    deep = [entry.dtype.itemsize == 2 for entry in entries]
    check(any(deep) == (data is not None), "depths without 16-bit images, or these without those")
    reader, found = Reader(data or b""), []
    for one in deep:
        if not one:
            found.append(None)
            continue
        step, bits = reader.n(2**16), reader.fixed(1)
        check(8 <= bits <= 16, "the bits of a number")
        found.append(Depth(step, bits, reader.n(2**36) if bits > 8 else 0))
    reader.end("the depths")
    check(sum(depth.length for depth in found if depth) <= credit, "more remainders than credit")
    return found
