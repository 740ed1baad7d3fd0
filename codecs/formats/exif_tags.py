"""Whether another format holds an image's Exif: its directories and tags, and the bytes of texts,
values without a type (a maker's note) and a thumbnail.

An Exif block is a TIFF without samples, so tags.py reads both.  Numbers are not compared: the
resolution may be another's.
"""

import io
import struct
from collections.abc import Iterator
from typing import Any

from bitsback.codecs.formats import tags
from bitsback.codecs.formats.metadata import WHOLE
from bitsback.codecs.formats.views import EXIF_START, ORIENTATION, TIFF_FOLDERS, TIFF_TAGS

MOST = 2**16  # tags that are compared
ASCII = 2
Path = tuple[int, ...]  # tags of the directories that lead to a tag, and its own
NEXT: Path = (-1,)
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
    """{tag: its text without zeros at the end, its bytes of no type, b"" of others} of all tags in
    Exif; bytes are preceded by the byte order where that matters.
    """
    if "tiff" in metadata:
        chosen = {*TIFF_TAGS, *TIFF_FOLDERS}
        return dict(_walked([tag for tag in metadata["tiff"] if tag[0] in chosen], "<"))
    block = (_block(metadata) or b"").removeprefix(EXIF_START)
    stream = io.BytesIO(block)
    try:
        file = tags.File(stream, len(block), MOST)
        found = dict(_walked(tags.read_tags(stream, len(block), MOST)[0], file.order))
        return found | _second(file)
    except (ValueError, struct.error, OverflowError):
        return {}


def _second(file):
    """The second directory of Exif, which no TIFF of one image has: {NEXT: its thumbnail}."""
    place = file.listing(file.offset)[1]
    if not place:
        return {}
    try:
        fields = {
            tag: file.number(file.pointer, field) for tag, *_, field in file.listing(place)[0]
        }
        return {NEXT: file.at(fields[513], fields[514])}
    except (KeyError, ValueError, struct.error, OverflowError):
        return {NEXT: b""}


def _block(metadata: dict) -> Any:
    """An Exif block as it is stored."""
    if "png" in metadata:
        return next((body for name, _, body in metadata["png"] if name == b"eXIf"), None)
    return metadata.get("exif")


def _walked(found: Any, order: str, path: Path = ()) -> Iterator[tuple[Path, bytes]]:
    for tag, kind, value in found:
        if path or tag not in SKIPPED:
            here = (*path, tag)
            if kind == ASCII:
                yield here, value.rstrip(b"\0")
            elif kind == tags.UNDEFINED:
                marked = order.encode() if tags.depends_on_order(tag, value) else b""
                yield here, b"7" + marked + value
            else:
                yield here, b""
            if isinstance(value, tuple):
                yield from _walked(value, order, here)
