"""Whether an AVIF was coded without loss, by its boxes (av1_headers.py reads the AV1 stream
within).

Lossless are images of one coded item (and one of alpha), each with quantiser 0, whose colours are
RGB as they are (matrix identity, full range, no subsampling) or gray.  All else is lossy, or cannot
be told.
"""

import struct
from dataclasses import dataclass, field

from bitsback.codecs.formats import av1_headers
from bitsback.codecs.formats.jpeg2000 import UNTOLD

ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
MAX_ITEMS = 2**14  # items, extents or links in a file


@dataclass
class Meta:
    """What the meta box says.

    kinds: of items; places: [(start, size)] of each; properties: [(name, bytes)] of each; links:
    [(kind, from, to)].
    """

    primary: int = 0
    kinds: dict = field(default_factory=dict)
    places: dict = field(default_factory=dict)
    properties: dict = field(default_factory=dict)
    links: list = field(default_factory=list)


def _boxes(data, start, end):
    """Yields (name, start, end) of the contents of the boxes of data[start:end]."""
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        size = end - start if size == 0 else size
        if size < head or start + size > end:
            return
        yield name, start + head, start + size
        start += size


def _times(count, left):
    """A range of what a file claims to hold, no more than `left`.  Errors: EOFError."""
    if count > left:
        raise EOFError
    return range(count)


def _sized(data, at, size):
    return int.from_bytes(data[at : at + size], "big"), at + size


def _locations(data, at):
    """Contents of iloc; {item: [(start, size)]}, None for what does not lie in the file itself."""
    version, found = data[at], {}
    sizes = (
        data[at + 4] >> 4,
        data[at + 4] & 15,
        data[at + 5] >> 4,
        data[at + 5] & 15 if version else 0,
    )  # of offset, length, base, index
    wide = 4 if version == 2 else 2
    count, at = _sized(data, at + 6, wide)
    left = MAX_ITEMS
    for _ in _times(count, left):
        item, at = _sized(data, at, wide)
        method, at = _sized(data, at, 2) if version else (0, at)
        _, at = _sized(data, at, 2)
        base, at = _sized(data, at, sizes[2])
        extents, at = _sized(data, at, 2)
        parts = []
        left -= extents
        for _ in _times(extents, left + extents):
            _, at = _sized(data, at, sizes[3])
            start, at = _sized(data, at, sizes[0])
            length, at = _sized(data, at, sizes[1])
            parts.append((base + start, length))
        found[item] = None if method & 15 else parts
    return found


def _kinds(data, start, end):
    """Contents of iinf; {item: kind}."""
    found = {}
    for name, at, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if name == b"infe" and data[at] >= 2:
            item, at = _sized(data, at + 4, 2 if data[at] == 2 else 4)
            found[item] = data[at + 2 : at + 6]
    return found


def _properties(data, start, end):
    """Contents of iprp; {item: [(name, bytes)]}."""
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
    """Contents of iref; [(kind, from, to)]."""
    wide, found = 4 if data[start] else 2, []
    for kind, at, _ in _boxes(data, start + 4, end):
        source, at = _sized(data, at, wide)
        count, at = _sized(data, at, 2)
        for _ in _times(count, MAX_ITEMS - len(found)):
            target, at = _sized(data, at, wide)
            found.append((kind, source, target))
    return found


def _meta(data):
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


def _item_reason(data, meta, item, alpha):
    """Why an item is lossy, or cannot be told; None where it is lossless."""
    places = meta.places.get(item)
    if meta.kinds.get(item) != b"av01" or not places:
        return UNTOLD + "its image is not one AV1 stream"
    stream = av1_headers.read(b"".join(data[start : start + length] for start, length in places))
    if stream.reason:
        return stream.reason if stream.lossy else UNTOLD + stream.reason
    matrix, full = stream.matrix, stream.full_range
    for name, body in meta.properties.get(item, ()):
        if name == b"colr" and body[:4] == b"nclx":
            matrix, full = int.from_bytes(body[8:10], "big"), body[10] >> 7
        if name in (b"clap", b"lsel", b"a1op"):
            return UNTOLD + "only a part of its image is meant"
    if not full:
        return "its samples are not of full range"
    return (
        None
        if alpha or stream.gray or matrix == 0 and not stream.subsampled
        else "its colours were converted"
    )


def loss(data: bytes) -> str | None:
    """The bytes of an AVIF: why its pixels are not those that went in, or why that cannot be told;
    None where they are.
    """
    try:
        meta = _meta(data)
        if b"prem" in {kind for kind, _, _ in meta.links} or b"tmap" in meta.kinds.values():
            return UNTOLD + "its colours are premultiplied, or it has two renderings"
        alphas = [
            source
            for kind, source, target in meta.links
            if kind == b"auxl" and target == meta.primary
        ]
        if any(
            not any(
                name == b"auxC" and body[4:].rstrip(b"\0") in ALPHA
                for name, body in meta.properties.get(item, ())
            )
            for item in alphas
        ):
            return UNTOLD + "it has more than alpha beside its image"
        items = [(meta.primary, False), *((item, True) for item in alphas)]
        return next(
            filter(None, (_item_reason(data, meta, item, alpha) for item, alpha in items)), None
        )
    except (IndexError, struct.error, EOFError):
        return UNTOLD + "its headers end early"
