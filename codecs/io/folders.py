"""Which files of a folder are worked on, none left out in silence; which names can be kept."""

import os
import stat
from pathlib import Path

from bitsback.errors import UnsupportedImage


def files_below(folder, suffixes: set[str]) -> tuple[list[Path], list[tuple[Path, OSError]]]:
    """Paths, sorted, of the files below `folder` whose suffix, in lower case, is one of `suffixes`;
    and (path, error) of what could not be looked at.

    Links to files are files.  Links to folders are not followed: what they lead to is somewhere
    else, or above.  An error are folders that cannot be listed and names with such a suffix that
    lead to no file: broken links, files that vanish meanwhile, pipes.
    """
    found, failures, folders = [], [], [os.fspath(folder)]

    def look(entry):
        if entry.is_dir(follow_symlinks=False):
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
    sources, recursive: bool, suffixes: set[str]
) -> tuple[list[tuple[Path, Path | None]], list[tuple[Path, Exception]]]:
    """([(path, root)], [(path, error)]): each source with root None or, if recursive, the files
    below a folder whose suffix is one of `suffixes`.

    The errors are those of files_below, and UnsupportedImage for a folder without any such file.
    """
    found, failures = [], []
    for source in map(Path, sources):
        if not (recursive and os.path.isdir(source)):
            found.append((source, None))
            continue
        paths, failed = files_below(source, suffixes)
        if not paths and not failed:
            failed = [(source, UnsupportedImage(f"{source}: no files to work on below it"))]
        found += [(path, source) for path in paths]
        failures += failed
    return found, failures
