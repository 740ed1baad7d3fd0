"""Archives: many images in one file, in groups whose images under the prior share one stack.

An index stores names, sizes, modes, permissions and times; `info` reads it without decoding.
A name is a relative path with forward slashes; one that would leave the output folder is refused.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import among, chosen_groups, is_chosen
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.bitstream.names import leaves_folder, local_parts
from bitsback.codecs.checksums import checked_entries
from bitsback.codecs.decoder import Progress, no_progress
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.formats.image_files import (
    HOLDS,
    LOSSLESS_SUFFIXES,
    default_suffix,
    read_image,
)
from bitsback.codecs.groups import Processes, decoded_groups, encode_groups
from bitsback.codecs.image import ImageData
from bitsback.codecs.io.collected import collect
from bitsback.codecs.io.restored import DEFAULT_SUFFIXES, default_bytes
from bitsback.errors import BitsbackError, DamagedFile, OutputExists, UnsupportedImage
from bitsback.inputs import Status, opened
from bitsback.outputs import make_folder_of
from bitsback.whole import LOSSES, Stamp

LONGEST_NAME = 255  # bytes of a file's name, in every usual file system


def encode_archive(
    sources: Iterable[str | os.PathLike],
    *,
    strip: bool = False,
    allow_lossy: bool = False,
    verify: bool = False,
    announce: Callable[[list[ImageData]], None] = lambda images: None,
    note: Callable[[Path, ImageData, Status], None] = lambda path, image, status: None,
    progress: Progress = no_progress,
    processes: Processes | None = None,
    **options: Any,
) -> tuple[bytes, int]:
    """Images of files and folders -> (the archive's bytes, number of images).

    strip: leave metadata out; allow_lossy: accept JPEG and the like; verify: write what extract
    would, decode and compare; announce: called with the images before the work; note: called with
    each image as it was read and its Status (`lost` names what is not stored); processes:
    for groups at once; progress, options: as Encoder's.  One unreadable image fails the whole
    archive.
    """
    loaded = [load(path, name, strip, allow_lossy, note) for path, name in collect(list(sources))]
    loaded.sort(key=lambda item: (item[0].width * item[0].height, item[0].height, item[0].name))
    images = [image for _, image in loaded]
    _refuse_unrestorable(loaded, verify)  # before the work
    announce(images)
    entries = checked_entries(images, tuple(entry for entry, _ in loaded))
    encoder = Encoder(verify=verify, **options)
    return encode_groups(images, entries, encoder, progress, processes), len(loaded)


def load(
    path: Path,
    name: str,
    strip: bool,
    allow_lossy: bool,
    note: Callable[[Path, ImageData, Status], None],
) -> tuple[Entry, ImageData]:
    """(Entry without its check, which the encoder fills in, ImageData) of one file.

    The rest as encode_archive's.  Errors: UnsupportedImage.
    """
    try:
        with opened(path, digest=True) as (stream, status):
            image = read_image(stream, path, allow_lossy=allow_lossy)
    except OSError as error:  # the image's, not the archive's
        raise UnsupportedImage(f"{path}: {error.strerror}") from None
    image = image.stripped() if strip else image
    note(path, image, status)
    entry = Entry(
        image.width,
        image.height,
        name,
        status.st_mode & 0o777,
        mode=image.mode,
        source=image.source,
        mtime=status.st_mtime_ns // 10**9,
    )
    return entry, image


def _refuse_unrestorable(loaded, verify):
    """Errors: UnsupportedImage for [(Entry, ImageData)] of which extract could not write one,
    because of its name or, if verify, because no format restores its image.
    """
    taken = {}
    for entry, image in loaded:
        try:
            target = target_path("", entry.name, image.mode)
            target = restored("", entry.name, image)[0] if verify else target
        except DamagedFile as error:
            raise UnsupportedImage(str(error)) from None
        if max(len(os.fsencode(part)) for part in target.parts) > LONGEST_NAME:
            raise UnsupportedImage(f"{entry.name}: too long a name to be unpacked as {target.name}")
        if target in taken:
            both = f"would be unpacked as {target}, and so would {taken[target]}"
            raise UnsupportedImage(f"{entry.name}: {both}")
        taken[target] = entry.name
    for target, name in taken.items():
        for parent in target.parents:
            if parent in taken:
                raise UnsupportedImage(f"{name}: would be unpacked below the image {taken[parent]}")


def target_path(folder: str | os.PathLike, name: str, mode: str = "RGB") -> Path:
    """Where an image of an archive goes: folder/name, with .png or .tiff appended unless its suffix
    is that of a lossless format for its mode.

    Errors: DamagedFile for a name that would leave the folder.
    """
    if leaves_folder(name):
        raise DamagedFile(f"the name {name!r} would leave the output folder")
    path = Path(folder, *local_parts(name))
    file_format = LOSSLESS_SUFFIXES.get(path.suffix.lower(), "WEBP")
    keeps = file_format != "WEBP" and mode in HOLDS[file_format]  # a .webp may have been lossy
    return path if keeps else path.with_name(path.name + default_suffix(mode))


def substitutes(entries: Iterable[Entry], folder: str | os.PathLike) -> list[Path]:
    """Where `restored` may put images of an archive instead of `targets`."""
    return [_with_suffix(folder, e.name, suffix) for e in entries for suffix in DEFAULT_SUFFIXES]


def _with_suffix(folder, name, suffix):
    path = Path(folder, *local_parts(name))
    return path.with_name(path.name + suffix)


def restored(
    folder: str | os.PathLike, name: str, image: ImageData
) -> tuple[Path, bytes, list[str]]:
    """(path, bytes, names of metadata not in them): target_path, or name and .png or .tiff where
    its format cannot hold the image.

    Errors: UnsupportedImage, DamagedFile.
    """
    target = target_path(folder, name, image.mode)
    own = target.suffix.lower()
    suffix, data, left_out = default_bytes(image, name, dict.fromkeys((own, *DEFAULT_SUFFIXES)))
    if suffix != own:
        target = _with_suffix(folder, name, suffix)
    return target, data, left_out


def refuse_links(path: Path, folder: str | os.PathLike) -> None:
    """Errors: DamagedFile for a path with a link among its folders below `folder`, OutputExists for
    one with a file there."""
    for parent in list(path.relative_to(folder).parents)[:-1]:  # the last is `folder`, the user's
        place = Path(folder) / parent
        if place.is_symlink():
            raise DamagedFile(f"{path}: would be written through a link")
        if place.exists() and not place.is_dir():
            raise OutputExists(f"{place}: exists already and is not a folder")


def targets(entries: Iterable[Entry], folder: str | os.PathLike) -> list[Path]:
    """Where the images of an archive go below `folder`, one path for each Entry.

    Errors: DamagedFile for names that would leave the folder, collide, or go through a link;
    OutputExists for what is there and no folder.
    """
    paths = [target_path(folder, entry.name, entry.mode) for entry in entries]
    taken = set(map(str, paths))  # of paths in other case one file, which shows when it is written
    if len(taken) != len(paths):
        raise DamagedFile("two images of the archive have one name")
    if any(str(parent) in taken for path in paths for parent in path.parents):
        raise DamagedFile("an image of the archive has the name of a folder of another")
    for path in paths:
        refuse_links(path, folder)
    return paths


def extract(
    data: bytes,
    folder: str | os.PathLike,
    paths: dict[str, Path],
    refuse: Callable[[Path], None],
    deliver: Callable[[bytes, Path, Stamp], None],
    note: Callable[[Path, list[str]], None],
    only: Sequence[str] = (),
    **options: Any,
) -> tuple[list[Path], list[BitsbackError]]:
    """Hands images of an archive to deliver(bytes, path, stamp), after making their folders.

    Returns (the paths, why others are left out).  paths: {name: path} from `targets`; refuse:
    called with a path that replaces one of these, where its format cannot hold the image; note:
    called with a path and the names of metadata that its format cannot hold; only: patterns of
    names; options: as decoded_groups'.  A group is decoded and checked before the first of its
    files is written.
    """
    groups, headers, damage = chosen_groups(data, only)
    paths, count = dict(paths), len(container.read_groups(data))
    for number, found in decoded_groups(data, groups, **options):
        if isinstance(found, BitsbackError):
            names = [e.name for e in headers[number].entries if is_chosen(e.name, only)]
            for name in names:
                del paths[name]
            damage.append(type(found)(container.in_group(number, count, found) + among(names)))
            continue
        for entry, image in zip(found[0].entries, found[1]):
            if not is_chosen(entry.name, only):
                continue
            try:
                paths[entry.name] = _extract_one(entry, image, folder, paths, refuse, deliver, note)
            except BitsbackError as error:
                if getattr(error.__context__, "errno", None) in LOSSES:
                    raise  # there will be no room for others either
                del paths[entry.name]
                damage.append(error)
    return list(paths.values()), damage


def _extract_one(entry, image, folder, paths, refuse, deliver, note):
    """Writes one image; returns its path, which is another where its format cannot hold it."""
    target, written, left_out = restored(folder, entry.name, image)
    if target != paths[entry.name]:  # not the format that name and mode promised
        if target in paths.values():
            raise DamagedFile(f"{target}: two images of the archive have one name")
        refuse_links(target, folder)
        refuse(target)
    make_folder_of(target)
    deliver(written, target, Stamp.at(entry.permissions, entry.mtime))
    if left_out:
        note(target, left_out)
    return target
