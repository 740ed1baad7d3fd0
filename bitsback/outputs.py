"""Writing outputs: a whole file under its name or nothing, and nothing replaced unasked.

FIFOs and character devices are written into, links are written through; `whole.py` makes the files.
`-` is standard output.
"""

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from bitsback.errors import NoSuchFolder, OutputExists, OutputFailed
from bitsback.whole import Stamp, write_all, write_whole

STDIO = Path("-")
STREAMS = (stat.S_ISFIFO, stat.S_ISCHR)  # kinds of files that are written into as they are


def _why(error):
    return getattr(error, "strerror", None) or str(error)


def _linked_file(path, status):
    """The file that a link leads to, for a temporary file beside it."""
    real = Path(os.path.realpath(path))
    if status is None and not real.parent.is_dir():
        raise NoSuchFolder(f"{path}: leads to {real}, whose folder does not exist")
    with suppress(OSError):
        if status is None or os.path.samestat(status, os.stat(real)):
            return real
    raise OutputExists(f"{path}: leads to a file without a name, which cannot be replaced")


def _place(path, force, plain):
    """(path to write, status of what is there or None): links followed, or with plain refused.

    Errors: OutputExists, NoSuchFolder, OSError.
    """
    try:
        linked = stat.S_ISLNK(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            raise NoSuchFolder(f"{path}: its folder does not exist") from None
        return path, None
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None  # a link to what is not there yet
    mode = status.st_mode if status else stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise OutputExists(f"{path}: is a folder")
    if not (stat.S_ISREG(mode) or any(kind(mode) for kind in STREAMS)):
        raise OutputExists(f"{path}: is a block device or a socket, which are not written to")
    if not force:
        raise OutputExists(f"{path}: exists already (-f overwrites)")
    if plain and (linked or not stat.S_ISREG(mode)):
        raise OutputExists(f"{path}: is a link or no file; only files are replaced here")
    if not stat.S_ISREG(mode):
        return path, status
    return (_linked_file(path, status) if linked else path), status


def refuse(path, sources, force: bool, plain: bool = False) -> None:
    """Says before any work is done what `write` would say after it.

    sources: paths that the output must not be, under whatever name, even with force; plain: refuse
    links, FIFOs and devices too.  Errors: OutputExists, NoSuchFolder, OutputFailed; OSError for a
    source that is not there.
    """
    path = Path(path)
    if path == STDIO:
        if sys.stdout is None:
            raise OutputFailed("standard output: is closed")
        return
    status = None
    with suppress(OSError, ValueError):
        status = os.stat(path)
    for source in sources if status else ():
        if os.path.samestat(status, os.stat(source)):
            raise OutputExists(f"{path}: is the input itself")
    try:
        _, status = _place(path, force, plain)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise OutputFailed(f"{path}: {_why(error)}") from None
    if status and stat.S_ISREG(status.st_mode) and _is_our_output(status):
        raise OutputExists(f"{path}: is standard output; -o - writes there")


def _is_our_output(status):
    with suppress(AttributeError, OSError, ValueError):  # closed, or not of the system
        return os.path.samestat(status, os.fstat(sys.stdout.fileno()))
    return False


def is_file(path) -> bool:
    """Whether what is written to `path` can be read there: not of `-`, FIFOs and devices."""
    path = Path(path)
    return path != STDIO and (not path.exists() or path.is_file())


def write(
    data: bytes,
    path,
    *,
    force: bool = False,
    like: os.stat_result | Stamp | None = None,
    plain: bool = False,
) -> None:
    """`data` to a file, through a link, into a FIFO or a character device, or to standard output.

    force: replace what is there, or write into it; like: gives a file its permissions and its
    modification time; plain: as of `refuse`.  Errors: OutputExists, NoSuchFolder, OutputFailed (no
    space, ...), which leave nothing of a file; BrokenPipeError where nobody reads standard output.
    """
    path = Path(path)
    try:
        if path == STDIO:
            _write_out(data)
            return
        place, status = _place(path, force, plain)
        if status and not stat.S_ISREG(status.st_mode):
            _write_into(place, data)
        else:
            write_whole(data, place, force=force, like=like)
    except FileExistsError:
        raise OutputExists(f"{path}: exists by now (-f overwrites)") from None
    except (OSError, ValueError) as error:
        if path == STDIO and isinstance(error, BrokenPipeError):
            raise
        name = "standard output" if path == STDIO else path
        raise OutputFailed(f"{name}: {_why(error)}") from None


def _write_out(data):
    """Past the buffer, which would try again at exit what failed now."""
    if sys.stdout is None:
        raise OutputFailed("standard output: is closed")
    sys.stdout.flush()
    write_all(getattr(sys.stdout.buffer, "raw", sys.stdout.buffer), data)


def _write_into(path, data):
    with open(os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0)), "wb", buffering=0) as stream:
        if not any(kind(os.fstat(stream.fileno()).st_mode) for kind in STREAMS):
            raise OutputExists(f"{path}: has just become another file")
        if stream.isatty():
            raise OutputFailed(f"{path}: is a terminal, to which data are not written")
        write_all(stream, data)
