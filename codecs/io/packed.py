"""Opening inputs, of which "-" is standard input, and reading .bbk files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bitsback import inputs
from bitsback.codecs.bitstream import container
from bitsback.errors import NotOurFile, UnsupportedImage
from bitsback.outputs import STDIO

SUFFIX = ".bbk"
Packed = tuple[bytes, inputs.Status | None]  # what read_packed_with returns


def read_packed(source: str | Path) -> bytes:
    """The bytes of a .bbk file or of standard input.

    Errors: NotOurFile, after reading 4 bytes only; UnsupportedImage if it is too long; OSError.
    """
    return read_packed_with(source)[0]


def read_packed_with(source: str | Path) -> Packed:
    """(bytes as of `read_packed`, the opened file's status, None of standard input)."""
    if Path(source) == STDIO:
        return inputs.standard_input(), None
    with inputs.held(source) as (stream, status):
        head = stream.read(4)
        if head != container.MAGIC:
            raise NotOurFile("not a bitsback file")
        data = head + inputs.read_limited(stream)
        if len(data) > inputs.MOST_INPUT:
            raise UnsupportedImage("longer than any bitsback file")
        return data, status


@contextmanager
def opened_source(
    source: str | Path, digest: bool = False
) -> Iterator[tuple[BinaryIO, inputs.Status | None]]:
    """(stream that can seek, Status) as of inputs.opened; the status of standard input is None."""
    if Path(source) == STDIO:
        yield io.BytesIO(inputs.standard_input()), None
        return
    with inputs.opened(source, digest) as (stream, status):
        yield stream, status
