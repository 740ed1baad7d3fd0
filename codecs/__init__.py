"""Image files to bytes and back.  `encode` and `decode` work on arrays, `encode_still` and `decode_still` on pictures
of any mode with their metadata, `files` on paths."""

from typing import TYPE_CHECKING

from bitsback.codecs.bitstream.container import read_header
from bitsback.codecs.image import Still

if TYPE_CHECKING:
    from bitsback.codecs.whole_file import decode, decode_still, encode, encode_still

__all__ = ["Still", "decode", "decode_still", "encode", "encode_still", "read_header"]


def __getattr__(name):
    """The functions of `picture` when they are asked for: torch takes seconds to load.

    `info` needs none of it.
    """
    if name in __all__:
        from bitsback.codecs import whole_file

        return getattr(whole_file, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
