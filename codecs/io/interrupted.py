"""Runs with --rm that were interrupted: the next one goes on where they ended.

A run that is killed, or whose machine is, between its last two steps leaves an output beside the
input.  An output that holds exactly what would be written now is as good as a new one: it is
flushed to disk and the input is removed.  Any other is refused as ever.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitsback.codecs import archive, decoder
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import among, chosen_groups
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.checksums import image_check
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.groups import decoded_groups
from bitsback.codecs.image import ImageData, same
from bitsback.codecs.io import delivery
from bitsback.codecs.io.packed import read_packed
from bitsback.errors import BitsbackError, OutputExists
from bitsback.inputs import Status
from bitsback.whole import Stamp, flush


def is_file(target: Path) -> bool:
    """Whether a regular file, and no link to one, is there."""
    try:
        return stat.S_ISREG(os.lstat(target).st_mode)
    except (OSError, ValueError):
        return False


def may_continue(target: Path, force: bool, remove: bool) -> bool:
    """Whether an output that is there may be one that an interrupted run with --rm left: it is
    taken if it holds what would be written, and refused otherwise."""
    return remove and not force and is_file(target)


def image_held(
    target: Path, image: ImageData, *, model: Any = None, device: Any = "cpu", **_: Any
) -> tuple[Header, int] | None:
    """(Header, bytes) of a .bbk file that holds exactly this image, alone; else None."""
    try:
        data = read_packed(target)
        header = container.read_header(data)
        decoder.check(data, [image], model=model, device=device)
    except (BitsbackError, OSError):
        return None
    return None if header.archive else (header, len(data))


def take_image(
    target: Path, image: ImageData, stamp: Stamp | None, **options: Any
) -> tuple[Header, int]:
    """image_held of an output that is there, which is flushed; stamp: that it would be given.

    Errors: OutputExists; OSError.
    """
    held = image_held(target, image, **options)
    if held is None:
        raise OutputExists(f"{target}: exists already and does not hold this image (-f overwrites)")
    _take(target, stamp)
    return held


def take_bytes(target: Path, data: bytes, stamp: Stamp | None) -> None:
    """Flushes an output that is there and holds `data`; stamp: that it would be given.

    Errors: OutputExists; OSError.
    """
    if target.read_bytes() != data:
        raise OutputExists(f"{target}: exists already and holds something else (-f overwrites)")
    _take(target, stamp)


def _take(target, stamp):
    if stamp and not delivery.same_stamp(target, stamp):
        raise OutputExists(
            f"{target}: exists already with this image, but another time or other permissions, "
            "as of another input (-f overwrites)"
        )
    flush(target)


def refuse_other(target: Path, entry: Entry) -> None:
    """Before an archive is decoded: whether a file that is there may be this image of it.

    Errors: OutputExists.
    """
    try:
        image = read_image(target, target, allow_lossy=True)
        if image.mode == entry.mode and image_check(image.samples) == entry.check:
            return
    except (BitsbackError, OSError):
        pass
    raise OutputExists(f"{target}: exists already and holds something else (-f overwrites)")


def refuse_others(target: Path, names: Iterable[str]) -> None:
    """Before an archive is replaced and its inputs removed: it may be all that is left of images
    that a run before removed.

    Errors: OutputExists where it holds other names than these.
    """
    try:
        header = container.joined_header(list(chosen_groups(read_packed(target))[1].values()))
    except (BitsbackError, OSError):
        return
    known = set(names)
    others = [entry.name for entry in header.entries if entry.name not in known]
    if header.archive and others:
        raise OutputExists(
            f"{target}: holds images that are not among the inputs{among(others)}, maybe the last "
            "copies of what was removed: with --rm it is not replaced, -f or not"
        )


def images_held(
    target: Path,
    sources: Iterable[str | Path],
    *,
    strip: bool = False,
    allow_lossy: bool = False,
    model: Any = None,
    device: Any = "cpu",
    **_: Any,
) -> tuple[Header, int, list[tuple[Path, ImageData, Status]]] | None:
    """(Header, bytes, what was read) of an archive that holds all images of `sources`, else None.

    An image counts if its name, permissions and time are the archive's too.
    Errors: those of reading the sources.
    """
    found = archive.collect(sources)
    try:
        data = read_packed(target)
        groups, headers, damage = chosen_groups(data)
    except (BitsbackError, OSError):
        return None
    header = container.joined_header(list(headers.values()))
    stamps = {entry.name: _stamp(entry) for entry in header.entries}
    if damage or not header.archive or not all(name in stamps for _, name in found):
        return None
    read: list[tuple[Path, ImageData, Status]] = []
    left = {}

    def note(path, image, status):
        read.append((path, image, status))

    for path, name in found:
        entry, image = archive.load(path, name, strip, allow_lossy, note)
        if stamps[name] != _stamp(entry):
            return None
        left[name] = image
    try:
        for _number, some in decoded_groups(data, groups, model=model, device=device):
            if isinstance(some, BitsbackError):
                return None
            for entry, image in zip(some[0].entries, some[1]):
                if entry.name in left and same(image, left[entry.name]):
                    del left[entry.name]
    except BitsbackError:
        return None
    return None if left else (header, len(data), read)


def _stamp(entry: Entry) -> tuple[int, int]:
    return entry.permissions, entry.mtime
