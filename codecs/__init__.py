"""Image files to bytes and back.  `encode` and `decode` work on arrays, `encode_still` and `decode_still` on pictures
of any mode with their metadata, `files` on paths."""
from .container import read_header
from .picture import decode, decode_still, encode, encode_still
from .still import Still

__all__ = ["Still", "decode", "decode_still", "encode", "encode_still", "read_header"]
