"""Bytes of .bbk files and of standard input, no more than such a file can have."""
import sys
from pathlib import Path

from ..errors import NotOurFile, UnsupportedImage
from . import container

STDIO = Path("-")
SUFFIX = ".bbk"
PIECE = 2**24                   # bytes read at once
MOST_INPUT = 2**32              # bytes taken from standard input, and of a .bbk file


def standard_input() -> bytes:
    """All of standard input.  Errors: UnsupportedImage where it is longer than MOST_INPUT."""
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


def read_packed(source) -> bytes:
    """The bytes of a .bbk file or of standard input; the first four are looked at before the rest is read.  Errors: NotOurFile, OSError."""
    if Path(source) == STDIO:
        return standard_input()
    with open(source, "rb") as stream:
        head = stream.read(4)
        if head != container.MAGIC:
            raise NotOurFile("not a bitsback file")
        data = head + _read(stream)
        if len(data) > MOST_INPUT:
            raise UnsupportedImage("longer than any bitsback file")
        return data
