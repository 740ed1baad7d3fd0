"""Inputs: bytes of .bbk files and of standard input, no more than such a file can have; pipes
that cannot seek; and the removal of an input, only where it is still what was read."""

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bitsback.codecs.bitstream import container
from bitsback.errors import InputChanged, NotOurFile, UnsupportedImage
from bitsback.outputs import STDIO

SUFFIX = ".bbk"
PIECE = 2**24  # bytes read at once
MOST_INPUT = 2**32  # bytes taken from standard input, and of a .bbk file


def standard_input() -> bytes:
    """All of standard input.  Errors: UnsupportedImage where it is longer than MOST_INPUT."""
    if sys.stdin is None:
        raise UnsupportedImage("standard input: is closed")
    data = _read(sys.stdin.buffer)
    if len(data) > MOST_INPUT:
        raise UnsupportedImage("standard input: too long")
    return data


def _read(stream):
    """Up to a piece more than MOST_INPUT bytes; in pieces, since one read of so many asks for the room at once."""
    data = bytearray()
    while len(data) <= MOST_INPUT and (piece := stream.read(PIECE)):
        data += piece
    return bytes(data)


def _state(status):
    """What tells a file from another one and from an altered one."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _held(source):
    """(stream, status) of a path; an error at the end of the block if the file was written to in it."""
    with open(source, "rb") as stream:
        status = os.fstat(stream.fileno())
        yield stream, status
        if stat.S_ISREG(status.st_mode) and _state(os.fstat(stream.fileno())) != _state(status):
            raise InputChanged(f"{source}: was written to while it was read")


@contextmanager
def opened(source) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """(a stream that can seek, the file's status when it was opened) of a path.

    What cannot seek, such as a pipe, is read whole.  Errors: OSError; UnsupportedImage for more
    than MOST_INPUT bytes of that; InputChanged.
    """
    with _held(source) as (stream, status):
        if not stream.seekable():
            data = _read(stream)
            if len(data) > MOST_INPUT:
                raise UnsupportedImage(f"{source}: too long")
            stream = io.BytesIO(data)
        yield stream, status


def refuse_removal(source) -> None:
    """For --rm, before any work.  Errors: UnsupportedImage for what is no regular file; OSError."""
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise UnsupportedImage(f"{source}: is no file that could be removed; leave --rm out")


def remove_read(read: list[tuple[Path, os.stat_result]]) -> None:
    """Removes inputs, [(path, status when it was opened)]; what is no longer what was read is kept.

    Errors: InputChanged, OSError; the first of several.
    """
    failed = None
    for source, status in read:
        try:
            if _state(os.stat(source)) != _state(status):
                raise InputChanged(
                    f"{source}: was changed or replaced meanwhile; the output has what "
                    "was read, the input is kept"
                )
            os.unlink(source)
        except (InputChanged, OSError) as error:
            failed = failed or error
    if failed:
        raise failed


def read_packed(source) -> bytes:
    """The bytes of a .bbk file or of standard input; the first four are looked at before the rest is read.  Errors: NotOurFile, OSError."""
    return read_packed_with(source)[0]


def read_packed_with(source) -> tuple[bytes, os.stat_result | None]:
    """What `read_packed` returns, and the file's status when it was opened (None of standard input)."""
    if Path(source) == STDIO:
        return standard_input(), None
    with _held(source) as (stream, status):
        head = stream.read(4)
        if head != container.MAGIC:
            raise NotOurFile("not a bitsback file")
        data = head + _read(stream)
        if len(data) > MOST_INPUT:
            raise UnsupportedImage("longer than any bitsback file")
        return data, status
