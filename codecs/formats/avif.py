"""Whether an AVIF is lossless, by its boxes and its AV1 stream (av1_headers.py).

Lossless images consist of one coded item, and one for alpha if present, with quantiser 0 and
colours stored as gray or RGB (identity matrix, full range, no subsampling).  All others are lossy,
or their headers do not show it.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from bitsback.codecs.formats import av1_headers
from bitsback.codecs.formats.containers import CUT, DAMAGED, boxes, printable_name
from bitsback.codecs.formats.jpeg2000 import UNDECIDED

ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
# properties of the layout of samples, and those that Pillow reads (irot, imir: as Exif)
KNOWN = {b"ispe", b"pixi", b"av1C", b"auxC", b"irot", b"imir", b"a1op", b"a1lx", b"lsel", b"clap"}
STORED = {b"Exif": "exif", b"mime": "xmp"}  # items: keys of the metadata
# codes of H.273 that are unknown or shown as sRGB's
SRGB_PRIMARIES, SRGB_TRANSFERS = {1, 2}, {1, 2, 6, 13, 14, 15}
MAX_ITEMS = 2**14  # limit of items, extents and links in a file


@dataclass
class Meta:
    """The meta box.  By item: kinds; places: [(start, size)]; properties: [(name, bytes)].

    links: [(kind, from, to)].
    """

    primary: int = 0
    kinds: dict = field(default_factory=dict)
    places: dict = field(default_factory=dict)
    properties: dict = field(default_factory=dict)
    links: list = field(default_factory=list)


def _boxes(data, start, end):
    """Yields (name, start, end) of the contents of each box in data[start:end]."""
    stream = io.BytesIO(data)
    stream.seek(start)
    for name, place, size in boxes(stream, end):
        if name != CUT:
            yield name, place, place + size


def _times(count, left):
    """range(count), a count from the file.  Errors: EOFError if it exceeds `left`."""
    if count > left:
        raise EOFError
    return range(count)


def _sized(data, at, size):
    """(big-endian integer of `size` bytes, position after it)."""
    return int.from_bytes(data[at : at + size], "big"), at + size


def _locations(data, at):
    """The box iloc: {item: [(start, size)]}, None for items not in the file itself."""
    version, found = data[at], {}
    offset_size, length_size = data[at + 4] >> 4, data[at + 4] & 15
    base_size, index_size = data[at + 5] >> 4, data[at + 5] & 15 if version else 0
    wide = 4 if version == 2 else 2
    count, at = _sized(data, at + 6, wide)
    left = MAX_ITEMS
    for _ in _times(count, left):
        item, at = _sized(data, at, wide)
        method, at = _sized(data, at, 2) if version else (0, at)
        _, at = _sized(data, at, 2)
        base, at = _sized(data, at, base_size)
        extents, at = _sized(data, at, 2)
        parts = []
        left -= extents
        for _ in _times(extents, left + extents):
            _, at = _sized(data, at, index_size)
            start, at = _sized(data, at, offset_size)
            length, at = _sized(data, at, length_size)
            parts.append((base + start, length))
        found[item] = None if method & 15 else parts
    return found


def _kinds(data, start, end):
    """The box iinf: {item: kind}."""
    found = {}
    for name, at, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if name == b"infe" and data[at] >= 2:
            item, at = _sized(data, at + 4, 2 if data[at] == 2 else 4)
            found[item] = data[at + 2 : at + 6]
    return found


def _properties(data, start, end):
    """The box iprp: {item: [(name, bytes)]}."""
    known, found = [], {}
    for name, at, stop in _boxes(data, start, end):
        if name == b"ipco":
            known = [(kind, data[a:b]) for kind, a, b in _boxes(data, at, stop)]
        if name == b"ipma":
            version, wide = data[at], data[at + 3] & 1
            count, at = _sized(data, at + 4, 4)
            for _ in _times(count, MAX_ITEMS):
                item, at = _sized(data, at, 4 if version else 2)
                links, at = _sized(data, at, 1)
                for _ in range(links):
                    index, at = _sized(data, at, 1 + wide)
                    index &= 0x7FFF if wide else 0x7F
                    if 0 < index <= len(known):
                        found.setdefault(item, []).append(known[index - 1])
    return found


def _links(data, start, end):
    """The box iref: [(kind, from, to)]."""
    wide, found = 4 if data[start] else 2, []
    for kind, at, _ in _boxes(data, start + 4, end):
        source, at = _sized(data, at, wide)
        count, at = _sized(data, at, 2)
        for _ in _times(count, MAX_ITEMS - len(found)):
            target, at = _sized(data, at, wide)
            found.append((kind, source, target))
    return found


def _meta(data):
    """The meta box of an AVIF."""
    meta = Meta()
    for name, start, end in _boxes(data, 0, len(data)):
        if name != b"meta":
            continue
        for name, at, stop in _boxes(data, start + 4, end):
            if name == b"pitm":
                meta.primary = _sized(data, at + 4, 2 if data[at] == 0 else 4)[0]
            elif name == b"iloc":
                meta.places = _locations(data, at)
            elif name == b"iinf":
                meta.kinds = _kinds(data, at, stop)
            elif name == b"iprp":
                meta.properties = _properties(data, at, stop)
            elif name == b"iref":
                meta.links = _links(data, at, stop)
    return meta


def _stream(data, meta, item):
    """The headers of an item's AV1 stream; None if it has none."""
    places = meta.places.get(item)
    if meta.kinds.get(item) != b"av01" or not places:
        return None
    return av1_headers.read(b"".join(data[start : start + length] for start, length in places))


def _item_reason(data, meta, item, alpha):
    """Why an item is lossy, or why that is not known; None if it is lossless."""
    stream = _stream(data, meta, item)
    if stream is None:
        return UNDECIDED + "its image is not one AV1 stream"
    if stream.reason:
        return stream.reason if stream.lossy else UNDECIDED + stream.reason
    matrix, full = stream.matrix, stream.full_range
    for name, body in meta.properties.get(item, ()):
        if name == b"colr" and body[:4] == b"nclx":
            matrix, full = int.from_bytes(body[8:10], "big"), body[10] >> 7
        if name in (b"clap", b"lsel", b"a1op"):
            return UNDECIDED + "only a part of its image is shown"
    if not full:
        return "its samples do not have full range"
    if alpha or stream.gray or matrix == 0 and not stream.subsampled:
        return None
    return "its colours were converted"


def _alphas(meta):
    """The items that are auxiliary images of the primary one."""
    return [
        source for kind, source, target in meta.links if (kind, target) == (b"auxl", meta.primary)
    ]


def not_kept(data: bytes, metadata: dict) -> Iterator[str]:
    """Names of the items and properties of an AVIF that are not in ImageData.metadata: thumbnails,
    colours other than sRGB's, ranges of brightness.
    """
    try:
        meta = _meta(data)
        shown, parts = {meta.primary, *_alphas(meta)}, set()
        for kind, source, target in meta.links:
            if kind == b"dimg" and source in shown:  # tiles of a grid
                parts.add(target)
            if kind == b"thmb":
                yield "thumbnail"
                parts.add(source)
        for item, kind in meta.kinds.items():
            if item not in shown | parts and STORED.get(kind) not in metadata:
                yield printable_name(kind)
        codes = _stream(data, meta, meta.primary)
        primaries, transfer = (codes.primaries, codes.transfer) if codes else (2, 2)
        for item in shown:
            for name, body in meta.properties.get(item, ()):
                if name == b"colr" and body[:4] == b"nclx" and item == meta.primary:
                    primaries, transfer = struct.unpack_from(">HH", body, 4)
                elif name == b"pasp" and body[:4] == body[4:8]:
                    continue
                elif name not in KNOWN and name != b"colr":
                    yield printable_name(name)
        ordinary = primaries in SRGB_PRIMARIES and transfer in SRGB_TRANSFERS
        if not ordinary and "icc" not in metadata:  # a profile comes first
            yield f"colours (cICP {primaries}/{transfer})"
    except (IndexError, struct.error, EOFError):
        yield DAMAGED


def lossy_reason(data: bytes) -> str | None:
    """Why an AVIF is lossy, or (starting with UNDECIDED) why that is not known; None if lossless.

    Damaged data give a reason.
    """
    try:
        meta = _meta(data)
        if b"prem" in {kind for kind, _, _ in meta.links} or b"tmap" in meta.kinds.values():
            return UNDECIDED + "its colours are premultiplied, or it has two renderings"
        alphas = _alphas(meta)
        if any(
            not any(
                name == b"auxC" and body[4:].rstrip(b"\0") in ALPHA
                for name, body in meta.properties.get(item, ())
            )
            for item in alphas
        ):
            return UNDECIDED + "it has auxiliary images other than alpha"
        items = [(meta.primary, False), *((item, True) for item in alphas)]
        return next(
            filter(None, (_item_reason(data, meta, item, alpha) for item, alpha in items)), None
        )
    except (IndexError, struct.error, EOFError):
        return UNDECIDED + "its headers end early"
