"""Whether another format holds an image's Exif: its directories, tags and texts, compared as bytes.

An Exif block is a TIFF without samples, so tags.py reads both.  Numbers are not compared: writers
give them other types.
"""

import io
from collections.abc import Iterator
from typing import Any

from bitsback.codecs.formats import tags
from bitsback.codecs.formats.metadata import WHOLE
from bitsback.codecs.formats.views import ORIENTATION, TIFF_FOLDERS, TIFF_TAGS

MOST = 2**16  # tags that are compared
ASCII = 2
START = b"Exif\0\0"
Path = tuple[int, ...]  # tags of the directories that lead to a tag, and its own
SKIPPED = {ORIENTATION, *tags.STORAGE}  # the first is applied where a format has none


def is_held(metadata: dict, written: dict) -> bool:
    """Whether Exif among the metadata of an image are among those of a file in another format.

    metadata, written: as ImageData.metadata.
    """
    if any(key in metadata and key in written for key in WHOLE):
        return True  # of one format: missing() compares all
    found = _texts(written)
    return all(found.get(path) == text for path, text in _texts(metadata).items())


def _texts(metadata: dict) -> dict[Path, bytes]:
    """{tag: its text without zeros at the end, b"" of others} of all tags in Exif."""
    if "tiff" in metadata:
        chosen = {*TIFF_TAGS, *TIFF_FOLDERS}
        return dict(_walked([tag for tag in metadata["tiff"] if tag[0] in chosen]))
    block = _block(metadata)
    if not block:
        return {}
    stream = io.BytesIO(block[len(START) :] if block.startswith(START) else block)
    return dict(_walked(tags.read_tags(stream, len(block), MOST)[0]))


def _block(metadata: dict) -> Any:
    """An Exif block as it is stored."""
    if "png" in metadata:
        return next((body for name, _, body in metadata["png"] if name == b"eXIf"), None)
    return metadata.get("exif")


def _walked(found: Any, path: Path = ()) -> Iterator[tuple[Path, bytes]]:
    for tag, kind, value in found:
        if path or tag not in SKIPPED:
            here = (*path, tag)
            yield here, value.rstrip(b"\0") if kind == ASCII else b""
            if isinstance(value, tuple):
                yield from _walked(value, here)
