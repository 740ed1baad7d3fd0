"""The images of an archive to be, by the files and folders that a user names."""

import os
from collections.abc import Iterable
from pathlib import Path

from bitsback.codecs.bitstream.chosen import in_one_line
from bitsback.codecs.bitstream.names import is_name, leaves_folder
from bitsback.codecs.formats.image_files import IMAGE_SUFFIXES
from bitsback.codecs.io.folders import files_below
from bitsback.errors import UnsupportedImage


def collect(sources: Iterable[str | os.PathLike], archived: bool = True) -> list[tuple[Path, str]]:
    """[(path, name)] of the images in files and folders; names are relative to each folder given.

    archived: whether the names go into an archive, which holds those only that every system takes.
    Errors: UnsupportedImage, also for a folder that cannot be read: nothing is left out silently.
    """
    found: dict[str, Path] = {}
    refused: list[str] = []
    for source in map(Path, sources):
        paths: list[Path] = [source]
        failures: list[tuple[Path, OSError]] = []
        if os.path.isdir(source):
            paths, failures = files_below(source, IMAGE_SUFFIXES)
        for path, error in failures:
            raise UnsupportedImage(f"{path}: {error.strerror}; nothing is left out")
        for path in paths:
            name = path.name if path == source else path.relative_to(source).as_posix()
            if not is_name(name):
                raise UnsupportedImage(f"{path}: the name is no Unicode and could not be kept")
            if archived and leaves_folder(name):
                refused.append(str(path))
            if name in found:
                raise UnsupportedImage(f"{path}: the archive would hold two images named {name}")
            found[name] = path
    if refused:
        why = "an archive holds no names with : or \\, which mean a folder on some systems"
        raise UnsupportedImage(f"{in_one_line(refused)}: {why}; rename, or leave --archive out")
    if not found:
        raise UnsupportedImage(f"{', '.join(map(str, sources))}: no images")
    return [(path, name) for name, path in found.items()]
