"""Pictures to the bytes of a file and back: one picture, or an archive that shares one stack.

The prior codes the colours of pictures it suits; all else is conventional coding, in the plain parts:

    LEB128 length, metadata of all pictures     if the header says so (metadata.py)
    LEB128 length, picture (plain.py)           those not under the prior; the very last of a file without a stack has no length
    LEB128 length, alpha (plain.py)             of each RGBA or LA picture under the prior
    a corner of the pictures under the prior    (segments.py)

Under the prior these bytes are the bottom of the stack, its first credit: they cost nothing extra.
"""

import dataclasses
import zlib

import numpy as np

from bitsback.efforts import DEFAULT_STEPS
from bitsback.errors import DamagedFile, UnsupportedImage, VerifyFailed
from bitsback.coder.model import Model
from bitsback.codecs.bitstream import container
from bitsback.codecs.formats import metadata
from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import Remembered, decode_plain
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.rivals import surely_smaller
from bitsback.codecs.segments import pop_segments, unpack_plain_parts
from bitsback.codecs.image import MODES, Still, UNDER_PRIOR, joined, same, shape_of
from bitsback.codecs.suits import may_suit, suit_prior


def _check(pixels):
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != 3
    ):
        raise UnsupportedImage("an (H, W, 3) array of uint8 is needed")
    if 0 in pixels.shape or max(pixels.shape) > container.MAX_SIDE:
        raise UnsupportedImage(f"a side of {pixels.shape[0]}x{pixels.shape[1]} is out of range")


def _prefixed(parts):
    return b"".join(number(len(part)) + part for part in parts)


def _digest(stills, packed, size=8):
    """Over all that is kept: samples, metadata and, where they are not all RGB, modes."""
    modes = (
        ""
        if all(still.mode == "RGB" for still in stills)
        else " ".join(still.mode for still in stills)
    )
    return pixel_digest([still.samples for still in stills], size, packed + modes.encode())


def _order(still, suits):
    """What the pictures of a file are sorted by: those in the plain parts first, then from small to large, since the stack grows, and those of one size together."""
    return (
        (True, still.height * still.width, still.height, still.colour.shape[2])
        if suits
        else (False,)
    )


def _under_prior(stills, header, packed, model, device, progress, tuning, conventional):
    """(bytes, conventional codings of the first header.plain pictures), or (None, those) where the prior cannot pay its start."""
    coded = [conventional(still.samples) for still in stills[: header.plain]]
    alphas = [
        conventional(np.ascontiguousarray(still.alpha))
        for still in stills[header.plain :]
        if still.alpha is not None
    ]
    first = _prefixed([packed] * bool(packed) + coded + alphas)
    images = [np.ascontiguousarray(still.colour) for still in stills[header.plain :]]
    told = tuple(
        dataclasses.replace(entry, alike=still.alike)
        for entry, still in zip(header.entries[header.plain :], stills[header.plain :])
    )
    header = dataclasses.replace(header, entries=header.entries[: header.plain] + told)
    result = prior_codec.encode_stack(images, header, model, device, progress, first, tuning)
    return container.write(*result) if result else None, coded


def may_start(stills: list[Still], suited: list[bool]) -> bool:
    """Whether the suited ones of these pictures are enough for the prior to be tried."""
    sizes = [(still.height, still.width) for still, suits in zip(stills, suited) if suits]
    return bool(sizes) and prior_codec.can_start(sizes)


def encode_stills(
    stills: list[Still],
    entries: tuple[Entry, ...],
    *,
    archive: bool,
    model=None,
    device="cpu",
    progress=lambda share: None,
    tuning=DEFAULT_STEPS,
) -> bytes:
    """The bytes of a file that holds these pictures: under the prior what it suits, unless all by conventional coding is smaller.

    stills: list of Still; entries: their Entry, in the same order.  In an archive the ones that the prior does not suit come first.
    """
    suited, conventional, prior = [may_suit(still) for still in stills], Remembered(), None
    if may_start(stills, suited):
        model = model if isinstance(model, Model) else Model.open(model)
        suited = [
            suits and (model.knows_grey or still.colour.shape[2] == 3)
            for still, suits in zip(stills, suited)
        ]
        if archive:
            tried = [i for i, suits in enumerate(suited) if suits]
            for i, suits in zip(
                tried, suit_prior([stills[i] for i in tried], model, device, conventional)
            ):
                suited[i] = suits
    if not may_start(stills, suited):
        suited = [False] * len(stills)
    order = sorted(range(len(stills)), key=lambda i: _order(stills[i], suited[i]))
    stills, entries = [stills[i] for i in order], tuple(entries[i] for i in order)
    packed, kinds = metadata.pack(stills), metadata.kinds([(s.look, s.metadata) for s in stills])
    lost = tuple(dict.fromkeys(name for still in stills for name in still.lost))
    header, coded = (
        Header(
            entries, _digest(stills, packed), archive, kinds, plain=suited.count(False), lost=lost
        ),
        [],
    )
    if any(suited):
        prior, coded = _under_prior(
            stills, header, packed, model, device, progress, tuning, conventional
        )
        if prior and surely_smaller(len(prior), [still.samples for still in stills]):
            return prior
    for still in stills[len(coded) :]:
        coded.append(conventional(still.samples))
        if prior and sum(map(len, coded)) >= len(prior):
            return prior
    header = dataclasses.replace(
        header, plain=0, digest=header.digest if archive else header.digest[:4]
    )
    plain = container.write(header, _prefixed([packed] * bool(packed) + coded[:-1]) + coded[-1])
    return min([plain] + [prior] * bool(prior), key=len)


def _entry(still):
    if (
        max(still.height, still.width) > container.MAX_SIDE
        or still.height * still.width > container.MAX_PIXELS
    ):
        raise UnsupportedImage(f"{still.width}x{still.height} pixels are too many")
    return Entry(still.width, still.height, mode=still.mode, source=still.source)


def encode_still(
    still: Still,
    *,
    model=None,
    device="cpu",
    progress=lambda share: None,
    verify=False,
    tuning=DEFAULT_STEPS,
) -> bytes:
    """A Still -> the bytes of a .bbk file; the smaller of prior and conventional coding.

    model: a Model, a shipped name or a path (default: the shipped default); device: torch's; progress: called with the share
    done, 0..1; verify: decode the result and compare; tuning: effort spent on tuning the model to the picture, in steps for a small one
    (tuning.py), 0 for none.  Errors: UnsupportedImage, WrongModel, VerifyFailed.
    """
    data = encode_stills(
        [still],
        (_entry(still),),
        archive=False,
        model=model,
        device=device,
        progress=progress,
        tuning=tuning,
    )
    if verify:
        check(data, [still], model=model, device=device, progress=progress)
    return data


def encode(
    pixels: np.ndarray,
    *,
    model=None,
    device="cpu",
    progress=lambda share: None,
    tuning=DEFAULT_STEPS,
) -> bytes:
    """(H, W, 3) uint8 -> the bytes of a .bbk file.  Options and errors as encode_still's."""
    _check(pixels)
    return encode_still(
        Still("RGB", pixels, source="PNG"),
        model=model,
        device=device,
        progress=progress,
        tuning=tuning,
    )


def check(data: bytes, stills: list[Still], **options) -> None:
    """Decodes a file and compares it with the pictures that went in, in any order.  Errors: VerifyFailed."""
    try:
        _, decoded = decode_stills(data, **options)
    except DamagedFile as error:
        raise VerifyFailed(
            f"what was coded does not decode ({error}); nothing was written, please report it"
        ) from None
    left = list(stills)
    for still in decoded:
        found = next((i for i, other in enumerate(left) if same(still, other)), None)
        if found is None:
            raise VerifyFailed(
                "what was coded decodes to another picture; nothing was written, please report it"
            )
        del left[found]


def _read_plain_parts(parts, header, images):
    """The mirror of what encode_stills joins -> ([samples], [look and metadata], packed metadata).  Errors: DamagedFile."""
    reader = Reader(parts)
    packed = reader.take(reader.number(len(parts))) if header.metadata else b""
    count, samples = header.plain if header.model else len(header.entries), []
    for i, entry in enumerate(header.entries[:count]):
        bare = not header.model and i + 1 == count
        part = reader.take(len(parts) - reader.position if bare else reader.number(len(parts)))
        samples.append(
            decode_plain(
                part, shape_of(entry.mode, entry.height, entry.width), MODES[entry.mode][0]
            )
        )
    alphas = [
        decode_plain(reader.take(reader.number(len(parts))), (entry.height, entry.width))
        if entry.mode in ("RGBA", "LA")
        else None
        for entry in header.entries[count:]
    ]
    if header.model:
        unpack_plain_parts(
            parts[reader.position :],
            [turned(pixels, header.flips) for pixels in images],
            header.start,
        )
    modes = [entry.mode for entry in header.entries[count:]]
    return (
        samples + [joined(*parts) for parts in zip(modes, images, alphas)],
        metadata.unpack(packed, len(header.entries)),
        packed,
    )


def decode_stills(
    data: bytes, *, model=None, device="cpu", progress=lambda share: None
) -> tuple[Header, list[Still]]:
    """The bytes of a file -> (Header, [Still]), checked against the digests inside.  Errors: NotOurFile, DamagedFile, WrongModel."""
    header, payload = container.read(data)
    images = []
    if header.model:
        if any(entry.mode not in UNDER_PRIOR for entry in header.entries[header.plain :]):
            raise DamagedFile("a mode that the prior does not code")
        locate(header.sizes, header.start, header.segments)
        model = Model.of_file(model, header.model)
        images = [np.empty(size, np.uint8) for size in header.sizes]
        views = [turned(pixels, header.flips) for pixels in images]
        chain, stack, top, masks, colours = prior_codec.open_stack(
            header, payload, model, views, device
        )
        pop_segments(
            chain, stack, views, header.start, header.segments, top, progress, masks, colours
        )
        payload = stack.credit(header.credit_bytes)
    samples, items, packed = _read_plain_parts(payload, header, images)
    if metadata.kinds(items) != header.metadata:
        raise DamagedFile("the metadata are not those that the header names")
    try:
        lost = () if header.archive else header.lost
        stills = [
            Still(e.mode, pixels, *item, e.source, lost)
            for e, pixels, item in zip(header.entries, samples, items)
        ]
    except UnsupportedImage as error:
        raise DamagedFile(str(error)) from None
    if header.archive:
        for entry, still in zip(header.entries, stills):
            if entry.check != image_check(still.samples):
                raise DamagedFile(f"{entry.name}: the pixels do not match their checksum")
    if _digest(stills, packed, len(header.digest)) != header.digest:
        raise DamagedFile("the pixels do not match their checksum")
    return header, stills


def decode_still(data: bytes, *, model=None, device="cpu", progress=lambda share: None) -> Still:
    """The bytes of a .bbk file of one picture -> Still, checked against the digest inside.

    model: a Model or path where the file's own is not shipped.
    Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an archive.
    """
    if container.read_header(data).archive:
        raise UnsupportedImage("an archive of pictures; use codecs.archive")
    return decode_stills(data, model=model, device=device, progress=progress)[1][0]


def decode(data: bytes, *, model=None, device="cpu", progress=lambda share: None) -> np.ndarray:
    """The bytes of a .bbk file of one RGB picture -> (H, W, 3) uint8.  As decode_still; UnsupportedImage for other modes."""
    header = container.read_header(data)
    if not header.archive and header.entries[0].mode != "RGB":
        raise UnsupportedImage(
            f"a picture of mode {header.entries[0].mode}; decode_still gives all of it"
        )
    return decode_still(data, model=model, device=device, progress=progress).samples


def image_check(samples):
    """16 bits of a picture in an archive: which one is damaged, if the archive's digest fails."""
    return zlib.crc32(np.ascontiguousarray(samples)) & 0xFFFF
