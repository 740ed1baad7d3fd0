"""Archives on disk: compress_archive and its inverse, restore_archive."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bitsback import outputs
from bitsback.codecs import archive
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.io import delivery, interrupted
from bitsback.errors import BitsbackError, OutputExists
from bitsback.inputs import Status, file_key
from bitsback.whole import flush

Note = Callable[[Path, Iterable[str]], None]  # (path, names of metadata that are lost)


def compress_archive(
    sources: Iterable[str | Path],
    target: Path,
    *,
    force: bool = False,
    verify: bool = True,
    remove: bool = False,
    allow_loss: bool = False,
    note: Note = lambda path, names: None,
    **options: Any,
) -> tuple[container.Header, int]:
    """Writes one archive of the images in `sources`.  Returns the Header and the file's size.

    remove, allow_loss: as of files.compress_file; note: called for each image file with metadata
    that is not kept; options: of archive.encode_archive.
    """
    if remove and not verify:
        raise ValueError("inputs are removed only if their output was verified")
    read: list[tuple[Path, Status]] = []
    begun, sources = remove and interrupted.is_file(target), list(sources)
    found = archive.collect(sources)
    paths = [path for path, _ in found]
    delivery.refuse(target, paths, force or begun, remove)

    def noted(path, image, status):
        read.append((path, status))
        if remove:
            delivery.refuse_loss(image, path, allow_loss)
        if image.lost:
            note(path, image.lost)

    if begun:  # with force too: the rest of the images must not replace those removed already
        held = interrupted.images_held(target, sources, **options)
        if held:
            for item in held[2]:
                noted(*item)
            flush(target)
            with delivery.locked(target, exclusive=False):
                delivery.remove_read(read)
            return held[:2]
        delivery.refuse(target, paths, force, remove)
        interrupted.refuse_others(target, (name for _, name in found))
    data, _ = archive.encode_archive(sources, verify=verify, note=noted, **options)
    with delivery.replacing(target, remove):
        delivery.deliver(data, target, force)
    if remove:
        with delivery.locked(target, exclusive=False):
            delivery.compare(data, target)
            delivery.remove_read(read)
    return container.read_header(data), len(data)


def restore_archive(
    data: bytes,
    sources: list[Path],
    folder: Path,
    targets: dict[Entry, Path],
    *,
    force: bool,
    remove: bool,
    note: Note,
    claim: Callable[[list[Path]], None],
    **options: Any,
) -> tuple[list[Path], list[BitsbackError]]:
    """Writes the images of an archive below `folder`.

    Returns (the paths written, why others are left out).  sources: [the archive], [] of
    standard input; targets: {Entry: path}, as of archive.targets; the rest: as of
    files.decompress_file, except that the archive is not removed here.
    """

    def refuse(target):
        if os.path.lexists(target):  # else its folder may not exist yet either
            begun = interrupted.may_continue(target, force, remove)
            delivery.refuse(target, sources, force or begun, remove, regular=True)

    def replaced(target):
        claim([target])
        refuse(target)

    done: set[tuple[int, int] | None] = set()  # files, of which two names may be one

    def deliver(written, target, stamp):
        if (key := file_key(target)) and key in done:
            raise OutputExists(
                f"{target}: is the file of another image of the archive on this file system"
            )
        put(written, target, stamp)
        done.add(file_key(target))

    def put(written, target, stamp):
        if interrupted.may_continue(target, force, remove):
            interrupted.take_bytes(target, written, stamp)
            return
        outputs.write(written, target, force=force, like=stamp, regular=True)
        if remove:
            delivery.compare(written, target)

    claim(list(targets.values()))
    for entry, target in targets.items():
        refuse(target)
        if interrupted.may_continue(target, force, remove):
            interrupted.refuse_other(target, entry)
    for source in sources if remove else ():
        delivery.refuse_removal(source)
    paths = {entry.name: path for entry, path in targets.items()}
    return archive.extract(data, folder, paths, replaced, deliver, note, **options)
