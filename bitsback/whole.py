"""Atomic writing: a file appears complete under its name, or not at all.

The bytes are written to a file without a name (Linux) or with a short temporary name.  A hard link
then makes the final name, which fails if that name exists; only with force is an existing file
replaced, by renaming.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WINDOWS = os.name == "nt"
OWNER_READS = 0o400  # whatever the input's mode: who may read it need not be its owner
LOSSES = errno.EIO, errno.ENOSPC, errno.EDQUOT  # a flush that fails so: data may be lost


class Stamp(NamedTuple):
    """The fields of an os.stat_result that a file is given: permissions, times in nanoseconds."""

    st_mode: int
    st_atime_ns: int
    st_mtime_ns: int

    @classmethod
    def at(cls, mode: int, seconds: int) -> "Stamp":
        """Of both times in seconds, as an archive's index has them."""
        return cls(mode, seconds * 10**9, seconds * 10**9)


def write_whole(
    data: bytes, path: Path, *, force: bool, like: os.stat_result | Stamp | None
) -> None:
    """Writes `data` to a regular file.

    force: replace an existing one; like: permissions and times for the file.  Errors:
    FileExistsError, OSError, after which no part of the file is left: nothing, or all of it where
    only the flush of its folder failed.
    """
    if not _unnamed(path, data, force, like):
        _named(path, data, force, like)


def write_all(stream: BinaryIO, data: bytes) -> None:
    """Writes all of `data` to an unbuffered stream, which may accept parts.  Errors: OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def _sync(handle):
    """Flushes a file to the medium, where os.fsync of macOS ends at the cache of the drive."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # a file system without it
            fcntl.fcntl(handle, full)
            return
    os.fsync(handle)


def _fill(handle, data, like):
    with open(handle, "wb", buffering=0, closefd=False) as stream:
        write_all(stream, data)
    _sync(handle)
    if like and os.utime in os.supports_fd:
        _stamp(handle, like)


def _stamp(file, like):
    """Sets times and permissions, as far as the file system supports them."""
    with suppress(OSError, OverflowError):
        os.utime(file, ns=(like.st_atime_ns, like.st_mtime_ns))
    with suppress(OSError):
        os.chmod(file, like.st_mode & 0o777 | OWNER_READS)


def _start_mode(like):
    """Permissions while the file is written: private if others are set later, else the default."""
    return 0o600 if like else 0o666  # the umask is subtracted


def _temporary(place):
    """A short temporary path: a name derived from one of 255 bytes would be too long."""
    return place.parent / f".bitsback.{secrets.token_hex(6)}.part"


def _unnamed(place, data, force, like):
    """Writes through a file without a name, of which a killed process leaves nothing.

    Returns False where the file system has no such files.
    """
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return False
    try:
        handle = os.open(place.parent, os.O_TMPFILE | os.O_WRONLY, _start_mode(like))
    except OSError:
        return False  # _named succeeds, or raises the error that explains this
    try:
        _fill(handle, data, like)
        return _link(handle, place, force)
    finally:
        os.close(handle)


def _link(handle, place, force):
    """Names an open file; returns False where hard links fail."""

    def link(name):  # src_dir_fd makes this linkat, which follows the link in /proc
        os.link(f"/proc/self/fd/{handle}", name, src_dir_fd=handle, follow_symlinks=True)

    try:
        link(place)
    except FileExistsError:
        if not force:
            raise
        temporary = _temporary(place)
        with _removed(temporary):
            link(temporary)
            os.replace(temporary, place)
    except OSError:
        return False
    _settle(place.parent)
    return True


def _named(place, data, force, like):
    """Writes through a file with a temporary name."""
    temporary = _temporary(place)
    handle = os.open(
        temporary,
        os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0),
        _start_mode(like),
    )
    with _removed(temporary):
        try:
            _fill(handle, data, like)
        finally:
            os.close(handle)
        if like and os.utime not in os.supports_fd:
            _stamp(temporary, like)
        if force:
            os.replace(temporary, place)
        else:
            _name(temporary, place)
    _settle(place.parent)


@contextmanager
def _removed(path) -> Iterator[None]:
    """Removes a file at the end of a block if it still exists."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            if WINDOWS:  # which does not remove what is read-only
                os.chmod(path, 0o600)
            os.unlink(path)


def _name(temporary, place):
    """Gives a file its final name.  Errors: FileExistsError if the name is taken."""
    if WINDOWS:  # where that is an error of renaming, and a link would share the permissions
        os.rename(temporary, place)
        return
    try:
        os.link(temporary, place)
    except FileExistsError:
        raise
    except OSError:  # no hard links: reserve the name with an empty file, then replace that
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.replace(temporary, place)
        except BaseException:
            os.unlink(place)
            raise


def _settle(folder):
    """Flushes a folder to disk, where that is possible: an input is removed only after that.

    Errors: OSError where the disk fails or is full, not where folders cannot be flushed.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may not be listed; Windows
        return
    try:
        _sync(handle)
    except OSError as error:
        if error.errno in LOSSES:
            raise
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Flushes a file that another process wrote, and its name, to disk.  Errors: OSError."""
    try:
        handle = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    except PermissionError:
        if not WINDOWS:  # where a read-only file cannot be flushed
            raise
    else:
        try:
            _sync(handle)
        finally:
            os.close(handle)
    _settle(path.parent)


def make_folders(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, and flushes their names to disk.

    A file in a folder whose own name is lost in a power cut is lost with it.  Errors: OSError.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in new:
        _settle(place.parent)
