"""Samples in coding order, and masks, as tensors on a device.

The same functions as in sample_arrays.py, with the same results.  A mask is a FreeSamples, whose
lists of indices the host made before: nothing here waits for the device.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from bitsback.ans.colour_counts import BLUE, GREEN, Table
from bitsback.ans.colour_tensors import byte
from bitsback.ans.device_counts import DeviceCounts
from bitsback.diffusion.passes import Pass, Places


class FreeSamples:
    """Which samples of a segment are coded, as indices (int64) on a device.

    free: (B, C, H, W) bool; orders: the coding passes of all steps.  coded, fixed: indices in C
    order.
    """

    def __init__(self, free: np.ndarray, orders: Iterable[tuple[Pass, ...]], device: torch.device):
        self.shape = free.shape

        def indices(mask: np.ndarray) -> Tensor:
            return torch.from_numpy(np.flatnonzero(mask)).to(device)

        self.coded, self.fixed = indices(free), indices(~free)
        self._fixed_of = [indices(~free[:, channel]) for channel in range(free.shape[1])]
        self._of: dict[tuple[bytes, int], Tensor] = {}
        for order in orders:
            for parts in order:
                places = Places(parts, *free.shape[2:])
                if not places.n or (places.grid.tobytes(), 0) in self._of:
                    continue
                for channel in range(free.shape[1]):
                    here = indices(places.of_colour(free, channel))
                    self._of[places.grid.tobytes(), channel] = here

    def of(self, places: Places, channel: int) -> Tensor:
        """(m,) indices of the coded samples among the (B n) of one channel of a pass."""
        return self._of[places.grid.tobytes(), channel]

    def fixed_of(self, channel: int) -> Tensor:
        """(m,) indices of the fixed samples among the (B H W) of one channel."""
        return self._fixed_of[channel]


def free_values(values: Tensor, free: FreeSamples | None) -> Tensor:
    """As sample_arrays.free_values."""
    values = values.reshape(-1)
    return values if free is None else values.index_select(0, free.coded)


def placed(coded: Tensor, fixed: Tensor, free: FreeSamples) -> Tensor:
    """As sample_arrays.placed."""
    values = empty(coded, free.shape)
    values.view(-1).index_copy_(0, free.coded, coded)
    put_fixed(values, fixed, free)
    return values


def empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """As sample_arrays.empty."""
    return torch.empty(shape, dtype=torch.int32, device=like.device)


def put_fixed(values: Tensor, fixed: Tensor, free: FreeSamples) -> None:
    """As sample_arrays.put_fixed."""
    values.view(-1).index_copy_(0, free.fixed, fixed)


def of_colour(places: Places, array: Tensor, colour: int, free: FreeSamples | None) -> Tensor:
    """As sample_arrays.of_colour."""
    here = places.of_colour(array, colour).reshape(-1)
    return here if free is None else here.index_select(0, free.of(places, colour))


def put(
    places: Places, array: Tensor, colour: int, free: FreeSamples | None, coded: Tensor
) -> None:
    """As sample_arrays.put."""
    if free is not None:
        here = places.of_colour(array, colour).reshape(-1)
        coded = here.index_copy(0, free.of(places, colour), coded)
    places.put(array[:, colour : colour + 1], coded.view(len(array), 1, -1))


def counted(
    places: Places, x: Tensor, colour: int, free: FreeSamples | None
) -> tuple[Table, Tensor]:
    """As sample_arrays.counted; the keys are int32."""
    table, keys = _table_and_keys(places.of(x), colour)
    keys = keys.reshape(-1)
    return table, keys if free is None else keys.index_select(0, free.of(places, colour))


def count_fixed(counts: DeviceCounts, x: Tensor, free: FreeSamples, times: int) -> None:
    """As sample_arrays.count_fixed."""
    x = x.reshape(*x.shape[:2], -1)
    for colour in range(x.shape[1]):
        which = free.fixed_of(colour)
        table, keys = _table_and_keys(x, colour)
        keys, values = (a.reshape(-1).index_select(0, which) for a in (keys, x[:, colour]))
        counts.count(table, keys, values, times)


def _table_and_keys(x: Tensor, colour: int) -> tuple[Table, Tensor]:
    """As colour_counts.table_and_keys; the keys are int32."""
    if x.shape[1] == 1 or colour == GREEN:
        return "gray" if x.shape[1] == 1 else GREEN, torch.zeros_like(x[:, 0])
    keys = byte(x[:, GREEN])
    if colour == BLUE:
        keys = keys << 8 | byte(x[:, 0])
    return colour, keys << 8
