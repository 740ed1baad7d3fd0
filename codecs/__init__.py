"""Image files to bytes and back.  `encode` and `decode` work on arrays, `encode_image` and `decode_image` on images
of any mode with their metadata, `files` on paths."""

from typing import TYPE_CHECKING

from bitsback.codecs.bitstream.container import read_header
from bitsback.codecs.image import ImageData

if TYPE_CHECKING:
    from bitsback.codecs.whole_file import decode, decode_image, encode, encode_image

__all__ = ["ImageData", "decode", "decode_image", "encode", "encode_image", "read_header"]


def __getattr__(name):
    """The functions of `image` when they are asked for: torch takes seconds to load.

    `info` needs none of it.
    """
    if name in __all__:
        from bitsback.codecs import whole_file

        return getattr(whole_file, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
