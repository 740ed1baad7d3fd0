"""Versions of the format: what a reader does with files of other versions (FORMAT.md).

Byte 4 of a file is 16 * major + minor.  Every reader of a major version reads all files of its
minor version and those before.  A file of a later minor version may hold what a reader does not
know: that it passes over, if it may be ignored, or refuses by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bitsback.errors import DamagedFile, NotOurFile

MAJOR, MINOR = 1, 0
VERSION = MAJOR << 4 | MINOR  # the byte
VERSION_NAME = f"{MAJOR}.{MINOR}"
PLACE = 4  # of the byte


def version_name(byte: int) -> str:
    """What a version is called: major.minor, 0 for the one before 1.0."""
    return f"{byte >> 4}.{byte & 15}" if byte else "0"


def is_known(data: bytes) -> bool:
    """Whether a file with this beginning is of our major version."""
    return len(data) > PLACE and data[PLACE] >> 4 == MAJOR


def check_version(data: bytes) -> None:
    """data: the beginning of a file that has our magic.  Errors: NotOurFile of another major."""
    if is_known(data):
        return
    byte = data[PLACE]
    told = f"format version {version_name(byte)}, this program reads {MAJOR}.x"
    if not byte:
        told += "; the bitsback 0.1.0 that made it reads it"
    raise NotOurFile(told)


@contextmanager
def known_to_version(data: bytes) -> Iterator[None]:
    """Within, DamagedFile means NotOurFile where a later minor version wrote these bytes.

    data: a file, or its beginning; its checksum was right.
    """
    try:
        yield
    except DamagedFile as error:
        if data[PLACE] <= VERSION:
            raise
        name = version_name(data[PLACE])
        told = f"{error}; the file is of format {name}, this program reads {VERSION_NAME}"
        raise NotOurFile(told) from None
