"""The files below a folder; every file that is skipped is reported as an error."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from bitsback.errors import UnsupportedImage

JUNCTION = 0xA0000003  # stat.IO_REPARSE_TAG_MOUNT_POINT: a link to a folder, of Windows


def files_below(
    folder: str | Path, suffixes: Iterable[str]
) -> tuple[list[Path], list[tuple[Path, OSError]]]:
    """(sorted paths of the files below `folder` with one of the lower-case `suffixes`,
    [(path, error)] of what could not be read).

    Links to files are followed, links to folders are not: they lead elsewhere or form a cycle.
    Errors are folders that cannot be listed, and names with such a suffix that are no regular
    files: broken links, files that vanish meanwhile, pipes.
    """
    found: list[Path] = []
    failures: list[tuple[Path, OSError]] = []
    folders = [os.fspath(folder)]

    def look(entry):
        if entry.is_dir(follow_symlinks=False):
            tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
            if tag != JUNCTION:
                folders.append(entry.path)
        elif Path(entry.name).suffix.lower() in suffixes:
            mode = os.stat(entry.path).st_mode
            if stat.S_ISREG(mode):
                found.append(Path(entry.path))
            elif not stat.S_ISDIR(mode):
                raise OSError(None, "neither a file nor a folder")

    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    try:
                        look(entry)
                    except OSError as error:
                        failures.append((Path(entry.path), error))
        except OSError as error:
            failures.append((Path(here), error))
    return sorted(found), failures


def below(
    sources: Iterable[str | Path], recursive: bool, suffixes: Iterable[str]
) -> tuple[list[tuple[Path, Path | None]], list[tuple[Path, Exception]]]:
    """([(path, root)], [(path, error)]) of inputs: each source with root None, except that with
    `recursive` a folder stands for the files below it with one of `suffixes`, with root the folder.

    Errors: those of files_below, and UnsupportedImage for a folder without any such file.
    """
    found: list[tuple[Path, Path | None]] = []
    failures: list[tuple[Path, Exception]] = []
    for source in map(Path, sources):
        if not (recursive and os.path.isdir(source)):
            found.append((source, None))
            continue
        paths, failed = files_below(source, suffixes)
        if not paths and not failed:
            error = UnsupportedImage(f"{source}: contains no files to work on")
            failures.append((source, error))
        found += [(path, source) for path in paths]
        failures += failed
    return found, failures
