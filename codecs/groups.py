"""The groups of an archive: which images each holds; coding and decoding them, also in processes.

A group has a stack, an index and checksums of its own, so each can be read without the others.  It
costs a start and a header: groups are large enough that this is a fraction of a percent.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Group, Header
from bitsback.codecs.decoder import ModelOption, Progress, decode_group, no_progress, shared
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.fallback.webp import webp_size
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model
from bitsback.completed import completed
from bitsback.errors import BitsbackError, DamagedFile, NotOurFile
from bitsback.memory import give_device_memory_back, out_of_memory

# A group is closed at about this many bytes, or at so many images if it has at least the fewer
# bytes: 256 images of 32x32 are some 300 kB (python -m benchmarks.groups).
GROUP_BYTES, GROUP_IMAGES, FEWEST_BYTES = 2**20, 256, 2**18

# Gives an executor of processes, which it closes: for groups at once.
Processes = Callable[[], AbstractContextManager[Executor]]
Decoded = tuple[Header, list[ImageData]]


def expected_bytes(image: ImageData) -> int:
    """About the bytes of an image in a file: a quick WebP, or half its samples' where that is none.

    The prior needs less than WebP, so groups come out somewhat smaller than they were meant to.
    """
    samples = image.samples
    if samples.dtype == np.uint8:
        size = webp_size(samples)
        if size is not None:
            return size
    return max(1, samples.nbytes // 2)


def split_images(sizes: Sequence[int]) -> list[range]:
    """Numbers of the images of each group, for images of these expected bytes, in their order.

    All groups have about the same share of the limits, so that none is a small rest.

    >>> split_images([1000] * 600 + [2**20])
    [range(0, 287), range(287, 575), range(575, 601)]
    """
    shares = [max(size / GROUP_BYTES, min(1 / GROUP_IMAGES, size / FEWEST_BYTES)) for size in sizes]
    count, total = max(1, round(sum(shares))), sum(shares)
    middles = np.cumsum(shares) - np.array(shares) / 2
    numbers = np.minimum(count - 1, (middles * count / total).astype(int))
    ends = np.searchsorted(numbers, np.arange(count), side="right").tolist()
    return [range(begin, end) for begin, end in zip([0, *ends], ends) if begin < end]


def encode_groups(
    images: list[ImageData],
    entries: tuple[Entry, ...],
    encoder: Encoder,
    progress: Progress = no_progress,
    processes: Processes | None = None,
) -> bytes:
    """Images -> the bytes of an archive, in as many groups as split_images makes.

    encoder: codes each group, its images in an order of its own; processes: None for this process.
    Errors: as of Encoder.encode_many.
    """
    parts = split_images([expected_bytes(image) for image in images])
    tasks = [(images[p.start : p.stop], entries[p.start : p.stop]) for p in parts]
    if processes is None or len(tasks) == 1:
        done: dict[int, bytes] = {}
        for i, task in enumerate(tasks):
            done[i] = encoder.encode_many(*task, shared(progress, i, len(tasks)))
    else:
        with processes() as executor:
            options = encoder.options
            futures = {executor.submit(_encoded, options, *t): i for i, t in enumerate(tasks)}
            done = dict(_finished(futures, progress))
    return container.write_groups([(len(p), done[i]) for i, p in enumerate(parts)])


def decoded_groups(
    data: bytes,
    groups: dict[int, Group],
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
    processes: Processes | None = None,
) -> Iterator[tuple[int, Decoded | BitsbackError]]:
    """(number, its Header and images, or why it does not decode) of each of these groups of a file.

    Why: DamagedFile, or NotOurFile of a group of a later version.

    groups: {number: Group}; processes: None for this process; with them the order is that of
    completion.  Other options as decoder.decode_images'.
    """
    if processes is None or len(groups) == 1:
        for i, (number, group) in enumerate(groups.items()):
            found: Decoded | BitsbackError
            try:
                found = _with_memory(
                    group.of(data), group, model, device, shared(progress, i, len(groups)), i > 0
                )
            except (DamagedFile, NotOurFile) as error:
                found = error
            yield number, found
        return
    name = model.path if isinstance(model, Model) else model
    with processes() as executor:
        yield from _finished(
            {
                executor.submit(_decoded, group.of(data), group, name, device): number
                for number, group in groups.items()
            },
            progress,
        )


def _with_memory(data, group, model, device, progress=no_progress, begun=True):
    """decode_group, on the CPU where memory is too small on a device.

    begun: groups may have been written; else the caller may try it with fewer others at once.
    """
    for where in (device, "cpu"):
        try:
            return decode_group(data, group, model=model, device=where, progress=progress)
        except Exception as error:  # torch's, Triton's and Python's have no class in common
            if not (begun and out_of_memory(error) and where != "cpu"):
                raise
        give_device_memory_back()


def _finished(futures: dict[Future, int], progress: Progress) -> Iterator[tuple[int, Any]]:
    """(number, result) of futures as they end; those that did not begin are cancelled if one fails
    or the iterator is closed.  Errors: those of the work; BitsbackError."""
    waiting = dict(futures)
    try:
        for future in completed(futures):
            yield waiting.pop(future), future.result()
            progress(1 - len(waiting) / len(futures))
    except BrokenProcessPool:
        raise BitsbackError("a worker process was killed (out of memory?)") from None
    finally:
        for future in waiting:
            future.cancel()


@functools.lru_cache(maxsize=2)
def _encoder(options: tuple) -> Encoder:
    """Kept in a worker, with its model: the arithmetic's self-test takes longer than an image."""
    return Encoder(*options)


@functools.lru_cache(maxsize=2)
def _opened(name: Any, model_id: str) -> Model:
    return Model.of_file(name, model_id)


def _encoded(options: tuple, images: list[ImageData], entries: tuple[Entry, ...]) -> bytes:
    return _encoder(options).encode_many(images, entries)


def _decoded(data: bytes, group: Group, name: Any, device: str) -> Decoded | BitsbackError:
    """One group, in a worker; why it does not decode is its result, since the others go on."""
    try:
        header = container.read_group(data, group)[0]
        model = _opened(name, header.model) if header.model else None
        return _with_memory(data, group, model, device)
    except (DamagedFile, NotOurFile) as error:
        return error
