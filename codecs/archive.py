"""Many images in one file: one stack, one start; images of one size pass the network together.

Names, sizes, modes, permissions and times are kept in an index that `info` reads without decoding.
A name is a relative path with forward slashes; one that would leave the output folder is refused.
"""

import os
from pathlib import Path, PurePosixPath

from bitsback.codecs import whole_file
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.bitstream.names import is_name
from bitsback.codecs.formats.image_files import (
    HOLDS,
    IMAGE_SUFFIXES,
    LOSSLESS_SUFFIXES,
    default_suffix,
    read_image,
)
from bitsback.codecs.io.folders import files_below
from bitsback.codecs.io.restored import DEFAULT_SUFFIXES, default_bytes
from bitsback.efforts import DEFAULT_STEPS
from bitsback.errors import DamagedFile, UnsupportedImage
from bitsback.inputs import opened
from bitsback.outputs import Stamp

LONGEST_NAME = 255  # bytes of a file's name, in every usual file system


def collect(sources) -> list[tuple[Path, str]]:
    """[(path, name)] of the images in files and folders; names are relative to each folder given.

    Errors: UnsupportedImage, for a folder that cannot be read too: nothing is left out in silence.
    """
    found = {}
    for source in map(Path, sources):
        paths, failures = [source], []
        if os.path.isdir(source):
            paths, failures = files_below(source, IMAGE_SUFFIXES)
        for path, error in failures:
            raise UnsupportedImage(f"{path}: {error.strerror}; no archive is made without it")
        for path in paths:
            name = path.name if path == source else path.relative_to(source).as_posix()
            if not is_name(name):
                raise UnsupportedImage(f"{path}: the name is no Unicode and could not be kept")
            if name in found:
                raise UnsupportedImage(f"{path}: the archive would hold two images named {name}")
            found[name] = path
    if not found:
        raise UnsupportedImage(f"{', '.join(map(str, sources))}: no images")
    return [(path, name) for name, path in found.items()]


def encode_archive(
    sources,
    *,
    strip=False,
    allow_lossy=False,
    verify=False,
    announce=lambda images: None,
    note=lambda path, image, status: None,
    tuning=DEFAULT_STEPS,
    **options,
) -> tuple[bytes, int]:
    """Images of files and folders -> (the archive's bytes, number of images).

    strip: leave metadata out; allow_lossy: take JPEG and the like; verify: write what extract would,
    decode and compare; announce: told the images before the work; note(path, still, status): told
    each as it was read, whose `lost` names what is not kept, with its os.stat_result when it was
    opened; options as image.encode_image's.  One unreadable image fails the whole: nothing is
    left out in silence.
    """
    loaded = []
    for path, name in collect(sources):
        try:
            with opened(path) as (stream, status):
                image = read_image(stream, path, allow_lossy=allow_lossy)
        except OSError as error:  # the image's, not the archive's
            raise UnsupportedImage(f"{path}: {error.strerror}") from None
        image = image.stripped() if strip else image
        note(path, image, status)
        loaded.append(
            (
                Entry(
                    image.width,
                    image.height,
                    name,
                    status.st_mode & 0o777,
                    whole_file.image_check(image.samples),
                    image.mode,
                    image.source,
                    int(status.st_mtime),
                ),
                image,
            )
        )
    loaded.sort(
        key=lambda item: (item[0].width * item[0].height, item[0].height, item[0].name)
    )  # the stack grows with them
    images = [image for _, image in loaded]
    _refuse_unrestorable(loaded, verify)  # before the work
    announce(images)
    data = whole_file.encode_images(
        images, tuple(entry for entry, _ in loaded), archive=True, tuning=tuning, **options
    )
    if verify:
        whole_file.check(data, images, **options)
    return data, len(loaded)


def _refuse_unrestorable(loaded, verify):
    """Errors: UnsupportedImage for [(Entry, ImageData)] of which extract could not write one, be it for
    its name or, if verify, its image.
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
            told = f"would be unpacked as {target}, and so would {taken[target]}"
            raise UnsupportedImage(f"{entry.name}: {told}")
        taken[target] = entry.name


def target_path(folder, name: str, mode: str = "RGB") -> Path:
    """Where an image of an archive goes: folder/name, with .png or .tiff behind it unless it names
    a lossless format for its mode.

    Errors: DamagedFile for a name that would leave the folder.
    """
    pure = PurePosixPath(name)
    if (
        not pure.parts
        or pure.is_absolute()
        or ".." in pure.parts
        or "\\" in name
        or ":" in name
        or "\0" in name
    ):
        raise DamagedFile(f"the name {name!r} would leave the output folder")
    path = Path(folder, *pure.parts)
    file_format = LOSSLESS_SUFFIXES.get(path.suffix.lower(), "WEBP")
    keeps = file_format != "WEBP" and mode in HOLDS[file_format]  # a .webp may have been lossy
    return path if keeps else path.with_name(path.name + default_suffix(mode))


def restored(folder, name: str, image) -> tuple[Path, bytes, list[str]]:
    """(path, bytes, names of metadata not in them): target_path, or name and .png or .tiff where
    its format cannot give the image back.

    Errors: UnsupportedImage, DamagedFile.
    """
    target = target_path(folder, name, image.mode)
    own = target.suffix.lower()
    suffix, data, left_out = default_bytes(image, name, dict.fromkeys((own, *DEFAULT_SUFFIXES)))
    if suffix != own:
        target = Path(folder, *PurePosixPath(name).parts)
        target = target.with_name(target.name + suffix)
    return target, data, left_out


def _refuse_links(path, folder):
    """Errors: DamagedFile for a path whose folders below `folder` are not folders of their own."""
    for parent in path.relative_to(folder).parents:
        if (Path(folder) / parent).is_symlink():
            raise DamagedFile(f"{path}: would be written through a link")


def targets(entries, folder) -> list[Path]:
    """Where the images of an archive go below `folder`, one path for each Entry.

    Errors: DamagedFile for names that would leave the folder, be one, or go through a link.
    """
    paths = [target_path(folder, entry.name, entry.mode) for entry in entries]
    if len(set(paths)) != len(paths):
        raise DamagedFile("two images of the archive have one name")
    for path in paths:
        _refuse_links(path, folder)
    return paths


def extract(data: bytes, folder, paths: list[Path], refuse, deliver, note, **options) -> list[Path]:
    """Hands all images of an archive to deliver(bytes, path, outputs.Stamp), their folders being
    made.  Returns the paths.

    paths: of `targets`, below `folder`; refuse(path): told a path that takes the place of one of
    these, where its format does not give the image back; note(path, names): told metadata that a
    format cannot hold.  Everything is decoded and checked before the first file is written.
    """
    header, images = whole_file.decode_images(data, **options)
    paths = list(paths)
    for i, (entry, image) in enumerate(zip(header.entries, images)):
        target, written, left_out = restored(folder, entry.name, image)
        if target != paths[i]:  # not the format that name and mode promised
            if target in paths:
                raise DamagedFile(f"{target}: two images of the archive have one name")
            _refuse_links(target, folder)
            refuse(target)
            paths[i] = target
        target.parent.mkdir(parents=True, exist_ok=True)
        deliver(written, target, Stamp(entry.permissions, entry.mtime * 10**9, entry.mtime * 10**9))
        if left_out:
            note(target, left_out)
    return paths
