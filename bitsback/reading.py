"""Archives read image by image: the group of an image is decoded, and kept while there is room."""

import copy
import operator
import os
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import overload

import numpy as np

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import read_index_of
from bitsback.codecs.bitstream.table import is_grouped, table_bytes
from bitsback.codecs.decoder import ModelOption, decode_group
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model
from bitsback.devices import require
from bitsback.errors import DamagedFile, InputChanged, NotOurFile, UnsupportedImage
from bitsback.inputs import identity
from bitsback.recent import Recent

CACHE_BYTES = 2**28  # of decoded samples that an Archive or a data set keeps
HEAD = 32  # bytes of a file that tell how long its table is


class Archive:
    """An archive of images: a sequence of uint8 arrays (uint16 and others where a mode has them).

    path: of a .bbk file that `compress --archive` made; model: needed only where the file's own is
    not shipped; device: torch's, for decoding; cache_bytes: of decoded samples that are kept, least
    lately used groups go first.  A copy in another process (pickle, fork) opens the file again.
    Threads of torch do not survive a fork: where the parent has decoded with several, a forked
    process calls torch.set_num_threads(1) first (DataLoader's workers do), or is spawned.

    Images are numbered as the file stores them (`names`), which is not the order of the inputs:
    pair them with labels by name.

    >>> import tempfile
    >>> from bitsback.codecs import Encoder
    >>> images = [ImageData("1", np.full((2, 2), i % 2, np.uint8)) for i in range(3)]
    >>> entries = tuple(container.Entry(2, 2, f"{i}.png", mode="1") for i in range(3))
    >>> path = Path(tempfile.mkdtemp()) / "set.bbk"
    >>> _ = path.write_bytes(Encoder().encode_many(images, entries))
    >>> archive = Archive(path)
    >>> len(archive), archive.names, archive["1.png"].tolist(), archive.batch([2, 0]).shape
    (3, ['0.png', '1.png', '2.png'], [[1, 1], [1, 1]], (2, 2, 2))

    Errors: OSError, NotOurFile, DamagedFile, UnsupportedImage for a file of one image;
    InputChanged where the file is another one later.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        model: ModelOption = None,
        device: str = "cpu",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        require(device)
        self.path, self.device, self.cache_bytes = Path(path), device, cache_bytes
        self._where = self.path.absolute()  # also after the current folder has changed
        self._model = model
        self._entries: tuple[container.Entry, ...] | None = None
        self._by_name: dict[str, int] | None = None
        self._recent: Recent[list[ImageData]] = Recent(cache_bytes)
        try:
            self._open()
        except (DamagedFile, NotOurFile) as error:
            raise type(error)(f"{self.path}: {error}") from None

    def _open(self):
        with open(self._where, "rb") as stream:
            self._identity = identity(status := os.fstat(stream.fileno()))
            head = stream.read(HEAD)
            if is_grouped(head):
                head += stream.read(max(0, table_bytes(head) - HEAD))
        self.groups = container.read_groups(head, status.st_size)
        if len(self.groups) == 1:
            header = container.read_header(self._bytes(0, status.st_size))
            if not header.archive:
                raise UnsupportedImage(f"{self.path}: one image, no archive")
            self._entries = header.entries
            self.groups = (self.groups[0]._replace(images=len(header.entries)),)

    def __len__(self) -> int:
        return self.groups[-1].first + self.groups[-1].images

    @property
    def entries(self) -> tuple[container.Entry, ...]:
        """Name, size in pixels, mode, permissions and time of each image, from the indexes."""
        if self._entries is None:
            found: list[container.Entry] = []
            for number, group in enumerate(self.groups):
                try:
                    found += read_index_of(self._bytes, group)
                except DamagedFile as error:
                    raise DamagedFile(self._message(number, error)) from None
            self._entries = tuple(found)
        return self._entries

    @property
    def names(self) -> list[str]:
        """The name of each image."""
        return list(self._numbers())

    def _numbers(self) -> dict[str, int]:
        if self._by_name is None:
            self._by_name = {entry.name: i for i, entry in enumerate(self.entries)}
            if len(self._by_name) < len(self):
                raise DamagedFile(f"{self.path}: two images of the archive have one name")
        return self._by_name

    def __contains__(self, name: object) -> bool:
        """Whether an image has this name."""
        return isinstance(name, str) and name in self._numbers()

    @overload
    def __getitem__(self, index: int | str) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | str | slice) -> np.ndarray | list[np.ndarray]:
        """The samples of an image by number (negative: from the end) or name: (H, W) or (H, W, C),
        the caller's to change; of a slice a list.

        Errors: IndexError, KeyError, TypeError, DamagedFile, WrongModel.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return self._shared(index).samples.copy()

    def image(self, index: int | str) -> ImageData:
        """The same with palette and metadata."""
        return copy.deepcopy(self._shared(index))

    def _shared(self, index: int | str) -> ImageData:
        """The image that is kept, not to be changed."""
        number = self.number(index)
        group = self.group_of(number)
        images = self._recent.get(group, lambda: self._kept(group))
        return images[number - self.groups[group].first]

    def batch(self, indices: Iterable[int | str]) -> np.ndarray:
        """Samples of several images of one size and mode, (N, H, W) or (N, H, W, C).

        Each group is decoded once, whatever the order.  Errors: as above; UnsupportedImage where
        sizes differ; ValueError for no images.
        """
        wanted = list(indices)
        if not wanted:
            raise ValueError("a batch of no images")
        places = sorted(range(len(wanted)), key=lambda i: self.number(wanted[i]))
        found = {i: self._shared(wanted[i]).samples for i in places}
        if len({(one.shape, one.dtype) for one in found.values()}) > 1:
            raise UnsupportedImage(f"{self.path}: images of several sizes are no batch")
        return np.stack([found[i] for i in range(len(wanted))])

    def number(self, index: int | str) -> int:
        """The number of an image given by number or name.

        Errors: IndexError, KeyError; TypeError for anything else.
        """
        if isinstance(index, str):
            return self._numbers()[index]
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index}: the archive has {len(self)} images")
        return index % len(self)

    def group_of(self, number: int) -> int:
        """The group that holds an image, 0 <= number < len."""
        return bisect_right(self.groups, number, key=lambda group: group.first) - 1

    def decode_group(self, number: int) -> list[ImageData]:
        """All images of a group, decoded now.  Errors: DamagedFile, WrongModel, InputChanged."""
        group = self.groups[number]
        data = self._bytes(group.begin, group.size)
        try:
            header = container.read_group(data, group)[0]
            if self._entries and header.entries != self._entries[group.first :][: group.images]:
                raise InputChanged(self._changed)  # in place, with the time set back
            if header.model and not (
                isinstance(self._model, Model) and self._model.id.startswith(header.model)
            ):
                self._model = Model.of_file(self._model, header.model)
            return decode_group(data, group, model=self._model, device=self.device)[1]
        except (DamagedFile, NotOurFile) as error:
            raise type(error)(self._message(number, error)) from None

    def _kept(self, number):
        images = self.decode_group(number)
        return images, sum(image.samples.nbytes for image in images)

    def _bytes(self, begin: int, size: int) -> bytes:
        with open(self._where, "rb") as stream:
            status = os.fstat(stream.fileno())
            if identity(status) != self._identity:
                raise InputChanged(self._changed)
            # a table may tell of more bytes than the file has
            begin = min(begin, status.st_size)
            stream.seek(begin)
            return stream.read(min(size, status.st_size - begin))

    @property
    def _changed(self):
        return f"{self.path}: was changed since it was opened"

    def _message(self, number, error):
        return f"{self.path}: {container.in_group(number, len(self.groups), error)}"

    def __reduce__(self) -> tuple:
        model = self._model.path if isinstance(self._model, Model) else self._model
        return _opened, (self._where, model, self.device, self.cache_bytes, self._identity)


def _opened(path, model, device, cache_bytes, known):
    """A pickled Archive, opened again.  Errors: InputChanged."""
    archive = Archive(path, model=model, device=device, cache_bytes=cache_bytes)
    if archive._identity != known:
        raise InputChanged(f"{path}: was changed since it was opened")
    return archive
