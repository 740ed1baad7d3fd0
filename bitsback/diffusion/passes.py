"""Coding passes: a level's pixels in subsets, each coded given the passes before it.

Neighbouring pixels carry information about one another's noise, which a single pass over all pixels
could not use (after multi-scale autoregression, arXiv 1703.03664).  With more passes a pixel has
more decoded neighbours, and the head is evaluated once more for each.
"""

from typing import Any

import numpy as np
import torch

ORDER = ((0, 0), (1, 1), (0, 1), (1, 0))  # inside a 2x2 block
PASS_COUNTS = (2, 4, 8)


Part = tuple[int, int, int]  # row, column and stride of a regular grid of pixels
Pass = tuple[Part, ...]
Array = Any  # numpy's or torch's


def coding_passes(count: int) -> tuple[Pass, ...]:
    """The passes in order.

    count: 2, the fields of a chessboard of one colour, then of the other; 4, the pixels of a 2x2
    block one after the other; 8, each of those in two halves, like a chessboard's.
    """
    if count == 2:
        return tuple(tuple((row, column, 2) for row, column in ORDER[i : i + 2]) for i in (0, 2))
    if count == 4:
        return tuple(((row, column, 2),) for row, column in ORDER)
    halves = (((0, 0), (2, 2)), ((0, 2), (2, 0)))
    return tuple(
        tuple((row + i, column + j, 4) for i, j in half) for row, column in ORDER for half in halves
    )


def _joined(arrays: list[Array]) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    return (
        torch.cat(arrays, 2) if isinstance(arrays[0], torch.Tensor) else np.concatenate(arrays, 2)
    )


class Places:
    """The pixels of one coding pass in images of height x width.

    They are ordered part by part, each in C order.  Arrays are numpy's or torch's.  parts: an
    element of `coding_passes`; pass_number: its index there; n: pixels of one image; grid: (parts,
    3) int64, `parts` as an array.
    """

    def __init__(self, parts: Pass, height: int, width: int, pass_number: int = 0):
        sizes = [
            (len(range(row, height, stride)), len(range(column, width, stride)))
            for row, column, stride in parts
        ]
        self._parts = [(*part, *size) for part, size in zip(parts, sizes) if all(size)]
        self._height, self._width, self.pass_number = height, width, pass_number
        self.grid = np.array(parts, np.int64)
        self.n = sum(rows * columns for *_, rows, columns in self._parts)
        self._lines: dict[int, np.ndarray] = {}

    def lines(self, images: int) -> np.ndarray:
        """The pixels of each row, in coding order: (lines, 5) int64, for compiled loops.

        Image, row, first column, stride, and how many pixels come before.
        """
        if images not in self._lines:
            self._lines[images] = self._find_lines(images)
        return self._lines[images]

    def _find_lines(self, images: int) -> np.ndarray:
        parts = [
            np.stack(
                [np.arange(rows) * stride + row]
                + [np.full(rows, number) for number in (column, stride, columns)],
                1,
            )
            for row, column, stride, rows, columns in self._parts
        ]
        of_one = np.concatenate(parts) if parts else np.empty((0, 4), np.int64)
        lines = np.tile(of_one, (images, 1))
        before = np.cumsum(lines[:, 3]) - lines[:, 3]
        image = np.repeat(np.arange(images), len(of_one))
        return np.column_stack([image, lines[:, :3], before])

    def _views(self, array: Array) -> list[Array]:
        return [
            array[:, :, row : self._height : stride, column : self._width : stride]
            for row, column, stride, _, _ in self._parts
        ]

    def of(self, array: Array) -> Array:
        """(B, C, H, W), which may reach further down and to the right -> (B, C, n)."""
        return _joined([view.reshape(*array.shape[:2], -1) for view in self._views(array)])

    def count(self, array: np.ndarray) -> int:
        """How many elements of (B, C, H, W) are not zero."""
        return sum(int(np.count_nonzero(view)) for view in self._views(array))

    def of_colour(self, array: Array, colour: int) -> Array:
        """(B, C, H, W) -> (B, n) of one channel."""
        return self.of(array[:, colour : colour + 1])[:, 0]

    def of_blocks(self, array: Array) -> Array:
        """(B, C, h, w), one value for each 2x2 block -> (B, C, n)."""
        return _joined(
            [
                array[:, :, row // 2 :: stride // 2, column // 2 :: stride // 2][
                    :, :, :rows, :columns
                ].reshape(*array.shape[:2], -1)
                for row, column, stride, rows, columns in self._parts
            ]
        )

    def put(self, array: Array, values: Array) -> None:
        """The mirror of `of`: writes values (B, C, n) into (B, C, H, W)."""
        begin = 0
        for view in self._views(array):
            end = begin + view.shape[2] * view.shape[3]
            view[...] = values[:, :, begin:end].reshape(view.shape)
            begin = end

    def put_unshuffled(self, array: torch.Tensor, values: torch.Tensor) -> None:
        """Writes values (B, 3, n) into (B, h, w, 12).

        There channel 4 colour + 2 i + j is row i and column j of a 2x2 block.
        """
        begin = 0
        for row, column, stride, rows, columns in self._parts:
            view = array[
                :,
                row // 2 :: stride // 2,
                column // 2 :: stride // 2,
                row % 2 * 2 + column % 2 :: 4,
            ][:, :rows, :columns]
            view[...] = (
                values[:, :, begin : begin + rows * columns]
                .reshape(len(array), 3, rows, columns)
                .permute(0, 2, 3, 1)
            )
            begin += rows * columns
