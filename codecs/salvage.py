"""What can be decoded of a damaged file.

The words of a stack stand in a file in the order in which they are decoded, and section 255 tells
which of them are whole: the segments whose words come before the damage decode to their pixels.
The start, metadata and alpha lie at the other end of the stack and are mostly lost.  Images of the
fallback codec are whole or lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.checksums import image_check
from bitsback.codecs.damage import Found, looked_at
from bitsback.codecs.decoder import ModelOption, Progress, decode_group, decode_payload, no_progress
from bitsback.codecs.fallback.codec import decode_fallback
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import DEEP, MODES, WITH_ALPHA, ImageData, joined, shape_of
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import blocks, pop_segments
from bitsback.coder.model import Model
from bitsback.errors import DamagedFile, NotOurFile

ALL_PIXELS = 1 - 2**-40  # share of an image of which all colours are there, and not all the rest


@dataclass(frozen=True, eq=False)
class Salvaged:
    """One image of a damaged file: image: all of it, or what was decoded, with alpha 0 elsewhere.

    share: of its pixels that were decoded, 1 only where their colours, alpha and lower bits are all
    there; without: what else of it is lost, in words.
    """

    entry: Entry
    image: ImageData
    share: float = 1.0
    without: str = ""


def salvage(
    data: bytes,
    found: Found | None = None,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Iterator[tuple[list[Salvaged], str]]:
    """The bytes of a file -> for each group what can be decoded of it, and what is wrong with it.

    Of a file that is not in groups, once.  found: looked_at of it, whose damage is not looked for
    again; other options: decoder.decode_image's.  Errors: NotOurFile, WrongModel.
    """
    options = model, device, progress
    groups, errors, _ = found or looked_at(data)
    for number, group in enumerate(groups):
        part = group.of(data)
        try:
            if number in errors:
                raise errors[number]
            yield [*_whole(*decode_group(part, group, model=model, device=device))], ""
        except DamagedFile as error:
            try:
                yield _decoded(part, options), str(error)
            except (DamagedFile, NotOurFile) as reason:  # a group's magic or version
                yield [], f"{error}; nothing of it can be salvaged: {reason}"
        except NotOurFile as error:
            if len(groups) == 1:
                raise
            yield [], str(error)  # a group of a later version


def _whole(header: Header, images: list[ImageData]) -> Iterator[Salvaged]:
    for entry, image in zip(header.entries, images):
        yield Salvaged(entry, image)


def _decoded(data, options):
    """[Salvaged] of a group whose checksum is wrong.  Errors: DamagedFile with the reason."""
    header, payload = container.read_damaged(data)
    if len(payload) + 4 == header.payload_bytes:  # its checksum alone is damaged
        return [*_whole(header, decode_payload(header, payload, *options))]
    if not payload:
        raise DamagedFile("its first block is damaged already")
    found = _of_stack(header, payload, *options) if header.model else _of_parts(header, payload)
    if not found:
        raise DamagedFile("the damage comes before the end of what is decoded first")
    return found


def _of_parts(header, payload):
    """Images by the fallback codec that end before the damage."""
    reader, found = Reader(payload), []
    items = [({}, {})] * len(header.entries)
    try:
        if header.metadata:
            packed = reader.take(reader.number(len(payload)))
            items = metadata.unpack(packed, len(header.entries))
        for entry, item in zip(header.entries[:-1], items):  # the last one has no length
            shape = shape_of(entry.mode, entry.height, entry.width)
            part = reader.take(reader.number(header.payload_bytes))
            samples = decode_fallback(part, shape, MODES[entry.mode][0])
            found.append(Salvaged(entry, ImageData(entry.mode, samples, *item, entry.source)))
    except DamagedFile:
        pass
    return [one for one in found if one.entry.check == image_check(one.image.samples)]


def _of_stack(header, payload, model, device, progress):
    """Images under the prior, each as far as its segments come before the damage."""
    chosen = Model.of_file(model, header.model)
    colours = [np.zeros(size, np.uint8) for size in header.sizes]
    known = [np.zeros((*size[:2], 1), bool) for size in header.sizes]
    views = [turned(one, header.flips) for one in colours]
    chain, lanes, top, masks, counts = prior_codec.open_stack(
        header, payload, chosen, views, device, cut=True
    )
    decoded: list[float] = []

    def count(share: float) -> None:
        decoded.append(share)
        progress(share)

    try:
        arguments = views, header.start, header.segments, top, count, masks, counts, None
        pop_segments(chain, lanes, *arguments, header.lanes)
    except DamagedFile:
        pass
    seen = [turned(one, header.flips) for one in known]
    for segment in locate(header.sizes, header.start, header.segments)[::-1][: len(decoded)]:
        for block in blocks(seen, segment):
            block[:] = True
    for one, mask in zip(seen, masks or ()):
        if mask is not None:
            one[~mask.any(2)] = True  # told by the flat map
    entries = header.entries[header.fallback_count :]
    found = [_of_colours(*of, bool(header.metadata)) for of in zip(entries, colours, known)]
    return [one for one in found if one.share]


def _of_colours(entry, colours, known, with_metadata):
    """Salvaged of the colours of one image, (H, W, C) uint8, which are known in places."""
    share = float(known.mean())
    lost = {"metadata": with_metadata, "transparency": entry.mode in WITH_ALPHA}
    lost["the lower bits"] = entry.mode in DEEP
    without = ", ".join(what for what, there in lost.items() if there)
    if share == 1 and entry.mode in ("RGB", "L"):
        samples = joined(entry.mode, colours, None)
        if entry.check == image_check(samples):
            return Salvaged(entry, ImageData(entry.mode, samples), 1.0, without)
    shown = np.concatenate([colours, 255 * known.astype(np.uint8)], 2)
    image = ImageData("LA" if colours.shape[2] == 1 else "RGBA", shown)
    return Salvaged(entry, image, min(share, ALL_PIXELS), without)
