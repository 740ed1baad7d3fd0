"""Archives as data sets: images by number or name, and batches for torch's DataLoader.

    archive = bitsback.Archive("set.bbk")
    archive[3], archive["train/cat1.png"], archive.batch([0, 5, 2])     # uint8 arrays

    dataset = ArchiveDataset("set.bbk", label=class_of)                  # tensors
    batches = GroupBatches(dataset, 64, workers=2)
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=2)

Images are decoded a group at a time (codecs/groups.py), checked by the group's digest, and kept as
long as there is room.
"""

import os
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from bitsback.devices import require
from bitsback.errors import UnsupportedImage
from bitsback.reading import Archive
from bitsback.recent import Recent

__all__ = ["Archive", "ArchiveDataset", "GroupBatches"]


class ArchiveDataset(Dataset):
    """The images of an archive as uint8 tensors, (C, H, W), for torch's DataLoader.

    archive: an Archive, or its path; device: where the tensors are kept, None: the archive's.  A
    group's samples come to the host once, where its digest is checked, and are uploaded once;
    decoding on CUDA needs num_workers=0 or processes started by spawn.  label: name -> anything;
    items are then (tensor, label).  transform: tensor -> anything.  Errors: as Archive's;
    BitsbackError for a device that is not there.
    """

    def __init__(
        self,
        archive: Archive | str | os.PathLike,
        *,
        device: str | None = None,
        label: Callable[[str], Any] | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        if device:
            require(device)
        self.archive = archive if isinstance(archive, Archive) else Archive(archive)
        self.device, self.label, self.transform = device or self.archive.device, label, transform
        self._recent: Recent[list[Tensor]] = Recent(self.archive.cache_bytes)

    def __len__(self) -> int:
        return len(self.archive)

    def __getitem__(self, index: int | str) -> Any:
        """Errors: as Archive's."""
        number = self.archive.number(index)
        group = self.archive.group_of(number)
        tensors = self._recent.get(group, lambda: self._tensors(group))
        kept = tensors[number - self.archive.groups[group].first]
        found: Any = kept.clone()  # a transform may work in place
        if self.transform:
            found = self.transform(found)
        return (found, self.label(self.archive.entries[number].name)) if self.label else found

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """A batch, as DataLoader asks for it: each group is decoded once."""
        order = sorted(range(len(indices)), key=lambda i: self.archive.number(indices[i]))
        found = {i: self[indices[i]] for i in order}
        return [found[i] for i in range(len(indices))]

    def _tensors(self, group):
        """([(C, H, W) uint8] of a group on the device, their bytes)."""
        arrays = [image.samples for image in self.archive.decode_group(group)]
        if any(array.dtype != np.uint8 for array in arrays):
            raise UnsupportedImage(f"{self.archive.path}: images of other samples than 8 bits")
        planes = [array.reshape(*array.shape[:2], -1).transpose(2, 0, 1) for array in arrays]
        flat = torch.from_numpy(np.concatenate([one.ravel() for one in planes])).to(self.device)
        parts = flat.split([one.size for one in planes])
        return [part.view(one.shape) for part, one in zip(parts, planes)], flat.numel()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recent": Recent(self.archive.cache_bytes)}


class GroupBatches(Sampler):
    """Batches of numbers for DataLoader(batch_sampler=...) that decode each group once an epoch,
    where `mixed` groups have room in the data set's cache_bytes.

    Images are drawn at random from `mixed` groups at a time, in random order.  workers: as
    DataLoader's num_workers, which deals batches out in turn: the groups of batch j are those of
    worker j % workers.  Workers have equally many batches, so up to workers - 1 groups are shared
    by two of them.  Call set_epoch for another order.  Errors: ValueError for sizes below 1.
    """

    def __init__(
        self,
        dataset: ArchiveDataset,
        batch_size: int,
        *,
        workers: int = 0,
        mixed: int = 4,
        seed: int = 0,
    ) -> None:
        if not isinstance(dataset, ArchiveDataset):
            raise TypeError(f"an ArchiveDataset is needed, not {type(dataset).__name__}")
        if min(batch_size, mixed) < 1:
            raise ValueError(f"batches of {batch_size} images from {mixed} groups at a time")
        self.groups, self.batch_size = dataset.archive.groups, batch_size
        self.workers, self.mixed, self.seed, self.epoch = max(1, workers), mixed, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next iteration."""
        self.epoch = epoch

    def _batches(self, parts: list[np.ndarray], rng: np.random.Generator) -> list[list[int]]:
        """Batches of one worker; parts: numbers of images of each of its groups."""
        numbers: list[int] = []
        for begin in range(0, len(parts), self.mixed):
            numbers += rng.permutation(np.concatenate(parts[begin : begin + self.mixed])).tolist()
        return [numbers[i : i + self.batch_size] for i in range(0, len(numbers), self.batch_size)]

    def _dealt(self) -> list[list[list[int]]]:
        """The batches of each worker: as many for each, or one more for the first ones, since
        DataLoader deals by turns whatever there is for whom."""
        rng = np.random.default_rng((self.seed, self.epoch))
        order = [self.groups[i] for i in rng.permutation(len(self.groups))]
        drawn = [rng.permutation(np.arange(g.first, g.first + g.images)) for g in order]
        batches = len(self)
        shares = [len(range(w, batches, self.workers)) for w in range(self.workers)]
        ends = (self.batch_size * np.cumsum(shares)).tolist()
        dealt, begin = [], 0
        for end in ends:
            parts, at = [], 0
            for numbers in drawn:
                part = numbers[max(0, begin - at) : max(0, end - at)]
                parts += [part] if len(part) else []
                at += len(numbers)
            dealt.append(self._batches(parts, rng))
            begin = end
        return dealt

    def __iter__(self) -> Iterator[list[int]]:
        for turn in zip_longest(*self._dealt()):
            yield from (batch for batch in turn if batch is not None)

    def __len__(self) -> int:
        return -(-sum(group.images for group in self.groups) // self.batch_size)
