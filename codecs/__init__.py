"""Image files to bytes and back.  `encode` and `decode` work on arrays, `files` on paths."""
from .container import read_header
from .picture import decode, encode

__all__ = ["decode", "encode", "read_header"]
