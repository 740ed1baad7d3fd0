"""A file that appears whole under its name, or not at all.

The bytes go into a file without a name (Linux) or with a short temporary one.  It gets its name by
a hard link, which fails where the name exists; only with force is it renamed over what is there.
"""

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What a file gets of an os.stat_result, or of this: permissions, times in nanoseconds."""

    st_mode: int
    st_atime_ns: int
    st_mtime_ns: int


def write_whole(
    data: bytes, path: Path, *, force: bool, like: os.stat_result | Stamp | None
) -> None:
    """`data` to a regular file.

    force: replace one that is there; like: gives its permissions and modification time.  Errors:
    FileExistsError, OSError, which leave nothing behind.
    """
    if not _unnamed(path, data, force, like):
        _named(path, data, force, like)


def write_all(stream, data: bytes) -> None:
    """Everything to a stream without a buffer, which takes what it likes.  Errors: OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def _fill(handle, data, like):
    with open(handle, "wb", buffering=0, closefd=False) as stream:
        write_all(stream, data)
    os.fsync(handle)
    if like and os.utime in os.supports_fd:
        _stamp(handle, like)


def _stamp(file, like):
    """Some file systems have no permissions; what they have is enough."""
    with suppress(OSError, OverflowError):
        os.utime(file, ns=(like.st_atime_ns, like.st_mtime_ns))
    with suppress(OSError):
        os.chmod(file, like.st_mode & 0o777)


def _start_mode(like):
    return 0o600 if like else 0o666  # less the umask; private from the start


def _temporary(place):
    """Short whatever the name: of 255 bytes no longer one could be made."""
    return place.parent / f".bitsback.{secrets.token_hex(6)}.part"


def _unnamed(place, data, force, like):
    """Whether the file system has files without a name, of which nothing is left after a kill."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return False
    try:
        handle = os.open(place.parent, os.O_TMPFILE | os.O_WRONLY, _start_mode(like))
    except OSError:
        return False  # or there is a reason that the other way will tell
    try:
        _fill(handle, data, like)
        return _link(handle, place, force)
    finally:
        os.close(handle)


def _link(handle, place, force):
    def link(name):  # with a descriptor: linkat, which follows links
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
def _removed(path):
    """Removes a file at the end of a block, if it is there still."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _name(temporary, place):
    """Gives a file a name that must be free.  Errors: FileExistsError."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        raise
    except OSError:  # no hard links: take the name, replace what took it
        os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.replace(temporary, place)
        except BaseException:
            os.unlink(place)
            raise


def _settle(folder):
    """The name reaches the disk before an input is removed, where folders can be synchronised."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
