"""Reading inputs: files that must not change while they are read, pipes, standard input."""

import hashlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bitsback.errors import InputChanged, UnsupportedImage

PIECE = 2**24  # bytes read at once
MOST_LINKS = 64  # more than a system follows
MOST_INPUT = 2**32  # bytes read from a stream that cannot seek, and of a .bbk file


def read_limited(stream: BinaryIO, most: int = MOST_INPUT) -> bytes:
    """All bytes of a stream, or at least `most` + 1 of a longer one.

    It is read in pieces: one read of so many bytes would allocate them beforehand.
    """
    data = bytearray()
    while len(data) <= most and (piece := stream.read(PIECE)):
        data += piece
    return bytes(data)


def standard_input() -> bytes:
    """All of standard input.  Errors: UnsupportedImage if it is longer than MOST_INPUT."""
    if sys.stdin is None:
        raise UnsupportedImage("standard input: is closed")
    data = read_limited(sys.stdin.buffer)
    if len(data) > MOST_INPUT:
        raise UnsupportedImage("standard input: too long")
    return data


class Status(NamedTuple):
    """What os.fstat told of a file when it was opened; digest: of its content, b"" where not asked
    for."""

    st_dev: int
    st_ino: int
    st_size: int
    st_mode: int
    st_atime_ns: int
    st_mtime_ns: int
    digest: bytes = b""

    @classmethod
    def of(cls, stream: BinaryIO) -> "Status":
        """Of an open file, without a digest."""
        found = os.fstat(stream.fileno())
        return cls(*(getattr(found, name) for name in cls._fields[:-1]))


def digest_of(stream: BinaryIO) -> bytes:
    """A digest of what is left of a stream: of two versions of a file it differs."""
    found = hashlib.blake2b(digest_size=16)
    while piece := stream.read(PIECE):
        found.update(piece)
    return found.digest()


def identity(status: os.stat_result | Status) -> tuple[int, ...]:
    """Fields that differ between two files, and between two versions of one file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def file_key(path: str | Path) -> tuple[int, int] | None:
    """What is the same for all paths to one file, None where there is none, or on a file system
    that does not number its files."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def links_followed(path: str | Path) -> int:
    """The number of symbolic links from a path to its file, those of folders not counted."""
    count, place = 0, os.fspath(path)
    while count < MOST_LINKS and os.path.islink(place):
        place = os.path.join(os.path.dirname(place), os.readlink(place))
        count += 1
    return count


@contextmanager
def held(source: str | Path, digest: bool = False) -> Iterator[tuple[BinaryIO, Status]]:
    """(stream, Status) of an opened file; digest: with one of the content of a regular file, of
    which time and size may be those of another version.

    Errors: OSError; InputChanged at the end of the block if the file was written to meanwhile.
    """
    with open(source, "rb") as stream:
        status = Status.of(stream)
        regular = stat.S_ISREG(status.st_mode)
        if digest and regular:
            status = status._replace(digest=digest_of(stream))
            stream.seek(0)
        yield stream, status
        if regular and identity(Status.of(stream)) != identity(status):
            raise InputChanged(f"{source}: was written to while it was read")


@contextmanager
def opened(source: str | Path, digest: bool = False) -> Iterator[tuple[BinaryIO, Status]]:
    """As `held`, but the stream can seek: inputs that cannot, such as pipes, are read to memory.

    Errors: also UnsupportedImage if such an input is longer than MOST_INPUT bytes.
    """
    with held(source, digest) as (stream, status):
        if stream.seekable():
            yield stream, status
            return
        data = read_limited(stream)
        if len(data) > MOST_INPUT:
            raise UnsupportedImage(f"{source}: too long")
        yield io.BytesIO(data), status
