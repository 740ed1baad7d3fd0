"""Image files to bytes and back.

`encode` and `decode` work on arrays, `encode_image` and `decode_image` on images of any mode with
their metadata, `Encoder` codes many images with one model, `io.files` works on paths.
"""

from typing import TYPE_CHECKING, Any

from bitsback.codecs.bitstream.container import read_header
from bitsback.codecs.image import ImageData

if TYPE_CHECKING:
    from bitsback.codecs.decoder import decode, decode_image
    from bitsback.codecs.encoder import Encoder, encode, encode_image

__all__ = [
    "Encoder",
    "ImageData",
    "decode",
    "decode_image",
    "encode",
    "encode_image",
    "read_header",
]


def __getattr__(name: str) -> Any:
    """The coding functions, imported when they are first used: torch takes seconds to load, and
    `info` needs none of it."""
    if name in ("decode", "decode_image"):
        from bitsback.codecs import decoder

        return getattr(decoder, name)
    if name in ("Encoder", "encode", "encode_image"):
        from bitsback.codecs import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
