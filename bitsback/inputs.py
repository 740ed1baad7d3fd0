"""Reading inputs: files that must not change while they are read, pipes, standard input."""

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Fields that differ between two files, and between two versions of one file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def links_followed(path: str | Path) -> int:
    """The number of symbolic links from a path to its file, those of folders not counted."""
    count, place = 0, os.fspath(path)
    while count < MOST_LINKS and os.path.islink(place):
        place = os.path.join(os.path.dirname(place), os.readlink(place))
        count += 1
    return count


@contextmanager
def held(source: str | Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """(stream, status) of an opened file.

    Errors: OSError; InputChanged at the end of the block if the file was written to meanwhile.
    """
    with open(source, "rb") as stream:
        status = os.fstat(stream.fileno())
        yield stream, status
        if stat.S_ISREG(status.st_mode) and identity(os.fstat(stream.fileno())) != identity(status):
            raise InputChanged(f"{source}: was written to while it was read")


@contextmanager
def opened(source: str | Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """As `held`, but the stream can seek: inputs that cannot, such as pipes, are read to memory.

    Errors: also UnsupportedImage if such an input is longer than MOST_INPUT bytes.
    """
    with held(source) as (stream, status):
        if stream.seekable():
            yield stream, status
            return
        data = read_limited(stream)
        if len(data) > MOST_INPUT:
            raise UnsupportedImage(f"{source}: too long")
        yield io.BytesIO(data), status
