"""TIFFs whose structure is unsound, refused: Pillow forgives what changes pixels or hides images.

Strips or tiles must be as many as the image has and decode to their end, tags about layout must be
readable, and no other directory may follow.  What the file holds beside the image is named.
"""

import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import BinaryIO

from bitsback.codecs.formats import tags, tiff_strips
from bitsback.codecs.formats.containers import DAMAGED
from bitsback.codecs.formats.tiff_directory import (
    CHANNELS,
    COMPRESSION,
    FILL,
    HEIGHT,
    IMAGE_DEPTH,
    LAYOUT,
    TILE_DEPTH,
    UNCOMPRESSED,
    WIDTH,
    Directory,
    Unsound,
)
from bitsback.errors import UnsupportedImage

OLD_JPEG = 6
DESCRIPTION, METAMORPH = 270, 33629  # the latter has six numbers for each plane
# not named: fewer bytes other than zero, as in old directories; those of less than GAP at one place
SPARE, GAP = 1000, 64
PIECE = 2**20
OUTSIDE = "data outside the image"


def refuse_unsound(stream: BinaryIO, name: str | Path) -> None:
    """Checks a TIFF that Pillow has opened.  Errors: UnsupportedImage, with the reason."""
    try:
        reason = _reason(stream)
    except Unsound as error:
        reason = str(error)
    except (ValueError, struct.error, OverflowError):
        reason = "a damaged directory"
    if reason:
        raise UnsupportedImage(f"{name}: TIFF with {reason}")


def _reason(stream):
    """Why a TIFF is refused, or None.  Errors: Unsound, ValueError."""
    found = Directory(stream)
    if found.next not in (0, found.file.offset):
        return "several pages; only single images can be stored"
    found.check_values()
    if found.one(IMAGE_DEPTH) > 1 or found.one(TILE_DEPTH) > 1:
        return "an image of three dimensions; only those of two can be stored"
    compression, turned = found.one(COMPRESSION), found.one(FILL) == 2
    if compression == OLD_JPEG:
        return None
    parts = found.parts()
    if compression == UNCOMPRESSED:
        end, size = found.image_end(parts)
        if found.end - end >= size and _claims_more(found):
            return "several pages behind one directory; only single images can be stored"
    for number, part in enumerate(parts):
        if not tiff_strips.is_whole(stream, part, compression, turned, found.end):
            return f"a damaged strip or tile (number {number + 1})"
    return None


def _claims_more(found):
    """Whether a description or tag tells of more images than the directory: those of programs that
    write the pixels of several images one after another (ImageJ, tifffile, MetaMorph).
    """
    if METAMORPH in found.fields and found.fields[METAMORPH][1] > 1:
        return True
    try:
        text = found.raw(DESCRIPTION) if DESCRIPTION in found.fields else b""
    except Unsound:
        return False
    if text.startswith(b"ImageJ="):
        counts = re.findall(rb"^(?:images|frames|slices)=(\d{1,9})\s*$", text, re.M)
        return any(int(count) > 1 for count in counts)
    shape = re.match(rb'(?:\{.*"shape": *\[|shape=\()([\d, ]+)[\])]', text, re.S)
    if not shape:
        return False
    samples = found.one(WIDTH) * found.one(HEIGHT) * found.one(CHANNELS)
    return prod(int(size) for size in shape[1].replace(b" ", b"").split(b",") if size) > samples


def lost_names(stream: BinaryIO) -> tuple[str, ...]:
    """Names of what a TIFF that was read holds beside its image and tags, for reports."""
    try:
        found = Directory(stream)
        lost = _unreadable(found)
        known = [*_known(found), (found.end, found.end)]
    except (Unsound, ValueError, struct.error, OverflowError):
        return (DAMAGED,)
    behind = spare = 0
    for begin, end in sorted(known):
        while GAP < min(begin, found.end) - behind and spare <= SPARE:
            stream.seek(behind)
            data = stream.read(min(PIECE, begin - behind))
            behind, spare = behind + len(data), spare + len(data) - data.count(0)
        behind = max(behind, end)
    return (*lost, OUTSIDE) if spare > SPARE else tuple(lost)


def _unreadable(found):
    """Names of tags about storage that cannot be read; tags.py names the others."""
    names = []
    for tag in sorted(tags.STORAGE - LAYOUT & set(found.fields)):
        try:
            found.raw(tag)
        except Unsound:
            names.append(f"{tags.label(tag)} (damaged or too long)")
    return names


def _known(found: Directory) -> Iterator[tuple[int, int]]:
    """(begin, end) of all bytes that the header and tags refer to."""
    file, left, seen = found.file, [(found.file.offset, tags.FOLDERS)], set()
    width, first = (20, 16) if file.big else (12, 8)
    yield 0, first
    while left:
        place, folders = left.pop()
        if place in seen:
            continue
        seen.add(place)
        try:
            listed, _ = file.listing(place)
        except (ValueError, struct.error, OverflowError):
            continue  # tags.py names it
        yield place, place + first + width * len(listed)
        for tag, kind, count, field in listed:
            size = tags.SIZES.get(kind, 1) * count
            if size > len(field):
                begin = file.number(file.pointer, field)
                yield begin, begin + size
            elif tag in folders and kind in tags.SIZES:
                value = file.value(kind, count, field)
                left.append((int.from_bytes(value, "little"), folders[tag]))
    if found.one(COMPRESSION) == OLD_JPEG:
        yield 0, found.end  # of which only decoders of JPEG know the parts
        return
    compressed = found.one(COMPRESSION) != UNCOMPRESSED
    for part in found.parts():
        yield part.place, part.place + (part.size if compressed else part.least)
