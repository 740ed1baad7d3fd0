"""Writing outputs: a complete file or nothing, and no existing file is replaced without `-f`.

Links are followed, FIFOs and character devices are opened and written to, `-` is standard output.
`whole.py` writes the regular files.
"""

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bitsback.errors import NoSuchFolder, OutputExists, OutputFailed
from bitsback.whole import Stamp, make_folders, write_all, write_whole

STDIO = Path("-")
STREAMS = (stat.S_ISFIFO, stat.S_ISCHR)  # kinds of files that are opened, not replaced


def _why(error):
    """An error's message without number and path."""
    return getattr(error, "strerror", None) or str(error)


def _linked_file(path, status):
    """The path that a link resolves to, beside which a temporary file can be made."""
    real = Path(os.path.realpath(path))
    if status is None and not real.parent.is_dir():
        raise NoSuchFolder(f"{path}: links to {real}, whose folder does not exist")
    with suppress(OSError):
        if status is None or os.path.samestat(status, os.stat(real)):
            return real
    raise OutputExists(f"{path}: links to a file without a name, which cannot be replaced")


def _place(path, force, regular):
    """(path to write, status of an existing file or None), links followed.  regular: as `refuse`.

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
        status = None  # a link to a file that does not exist yet
    mode = status.st_mode if status else stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise OutputExists(f"{path}: is a folder")
    if not (stat.S_ISREG(mode) or any(kind(mode) for kind in STREAMS)):
        raise OutputExists(f"{path}: is a block device or a socket, which are not written to")
    if not force:
        raise OutputExists(f"{path}: exists already (-f overwrites)")
    if regular and (linked or not stat.S_ISREG(mode)):
        raise OutputExists(
            f"{path}: is a link or not a regular file; only regular files are replaced here"
        )
    if not stat.S_ISREG(mode):
        return path, status
    return (_linked_file(path, status) if linked else path), status


def refuse(
    path: str | Path, sources: Iterable[str | Path], force: bool, regular: bool = False
) -> None:
    """Raises before any work the errors that `write` would raise after it.

    sources: input files, which the output must not overwrite even with force; regular: accept only
    regular files, no links, FIFOs or devices.  Errors: OutputExists, NoSuchFolder, OutputFailed;
    OSError for a source that does not exist.
    """
    path = Path(path)
    if path == STDIO:
        if sys.stdout is None:
            raise OutputFailed("standard output: is closed")
        return
    status = None
    with suppress(OSError, ValueError):
        status = os.stat(path)
    for source in sources:
        if status and _is_one(path, status, source, os.stat(source)):
            raise OutputExists(f"{path}: is the input itself")
    try:
        _, status = _place(path, force, regular)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise OutputFailed(f"{path}: {_why(error)}") from None
    if status and stat.S_ISREG(status.st_mode) and _is_our_output(status):
        raise OutputExists(f"{path}: is standard output; use -o - to write there")


def _is_one(path, status, other, other_status):
    """Whether two paths lead to one file: by number, where the file system numbers its files."""
    if status.st_ino:
        return os.path.samestat(status, other_status)
    return os.path.realpath(path) == os.path.realpath(other)


def _is_our_output(status):
    with suppress(AttributeError, OSError, ValueError):  # closed, or without a descriptor
        return bool(status.st_ino) and os.path.samestat(status, os.fstat(sys.stdout.fileno()))
    return False


def is_file(path: str | Path) -> bool:
    """Whether an output can be read back from `path`: False for `-`, FIFOs and devices."""
    path = Path(path)
    return path != STDIO and (not path.exists() or path.is_file())


def is_stream(path: str | Path) -> bool:
    """Whether an output is `-`, a FIFO or a device, without a suffix that could choose a format."""
    path = Path(path)
    return path == STDIO or not path.suffix and not is_file(path)


def write(
    data: bytes,
    path: str | Path,
    *,
    force: bool = False,
    like: os.stat_result | Stamp | None = None,
    regular: bool = False,
) -> None:
    """Writes `data` to a file, FIFO, character device or standard output; links are followed.

    force: replace an existing file, or write to a FIFO or device; like: permissions and times for
    the file; regular: as of `refuse`.  Errors: OutputExists, NoSuchFolder, OutputFailed, after
    which no part of a file is left; BrokenPipeError if the reader of standard output has gone.
    """
    path = Path(path)
    try:
        if path == STDIO:
            _write_out(data)
            return
        place, status = _place(path, force, regular)
        if status and not stat.S_ISREG(status.st_mode):
            _write_into(place, data)
        else:
            write_whole(data, place, force=force, like=like)
    except FileExistsError:
        raise OutputExists(f"{path}: exists already, created meanwhile (-f overwrites)") from None
    except (OSError, ValueError) as error:
        if path == STDIO and isinstance(error, BrokenPipeError):
            raise
        name = "standard output" if path == STDIO else path
        raise OutputFailed(f"{name}: {_why(error)}") from None


def make_folder_of(path: Path) -> None:
    """Makes the folders above an output.  Errors: OutputFailed."""
    try:
        make_folders(path.parent)
    except OSError as error:
        raise OutputFailed(f"{path}: {_why(error)}") from None


def append_line(path: str | Path, line: str) -> None:
    """Adds a line to a log, which is made if it is not there.  Errors: OutputFailed, after which no
    part of the line is in the file.
    """
    try:
        with open(path, "ab", buffering=0) as stream:
            before = os.fstat(stream.fileno()).st_size
            try:
                write_all(stream, line.encode() + b"\n")
            except OSError:
                stream.truncate(before)
                raise
    except OSError as error:
        raise OutputFailed(f"{path}: {_why(error)}") from None


def _write_out(data):
    """Bypasses the buffer, which would repeat a failed write at exit."""
    if sys.stdout is None:
        raise OutputFailed("standard output: is closed")
    sys.stdout.flush()
    write_all(getattr(sys.stdout.buffer, "raw", sys.stdout.buffer), data)


def _write_into(path, data):
    with open(os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0)), "wb", buffering=0) as stream:
        if not any(kind(os.fstat(stream.fileno()).st_mode) for kind in STREAMS):
            raise OutputExists(f"{path}: was replaced meanwhile by another kind of file")
        if stream.isatty():
            raise OutputFailed(f"{path}: is a terminal; data are not written to it")
        write_all(stream, data)
