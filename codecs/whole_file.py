"""Images to the bytes of a file and back: one image, or an archive that shares one stack.

The prior codes the colours of images it suits; all else is fallback codec, in the fallback parts:

    LEB128 length, metadata of all images     if the header says so (metadata.py)
    LEB128 length, image (plain.py)           those not under the prior; the very last of a file without a stack has no length
    LEB128 length, alpha (plain.py)             of each RGBA or LA image under the prior
    a corner of the images under the prior    (segments.py)

Under the prior these bytes are the bottom of the stack, its first credit: they cost nothing extra.
"""

import dataclasses
import zlib

import numpy as np

from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.numbers import Reader, number
from bitsback.codecs.fallback.codec import Remembered, decode_fallback
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import MODES, UNDER_PRIOR, ImageData, joined, same, shape_of
from bitsback.codecs.rivals import surely_smaller
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import pop_segments, unpack_fallback_parts
from bitsback.codecs.suits import may_suit, suit_prior
from bitsback.coder.model import Model
from bitsback.efforts import DEFAULT_STEPS
from bitsback.errors import DamagedFile, UnsupportedImage, VerifyFailed


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


def _digest(images, packed, size=8):
    """Over all that is kept: samples, metadata and, where they are not all RGB, modes."""
    modes = (
        ""
        if all(image.mode == "RGB" for image in images)
        else " ".join(image.mode for image in images)
    )
    return pixel_digest([image.samples for image in images], size, packed + modes.encode())


def _order(image, suits):
    """What the images of a file are sorted by: those in the fallback parts first, then from small to large, since the stack grows, and those of one size together."""
    return (
        (True, image.height * image.width, image.height, image.colour.shape[2])
        if suits
        else (False,)
    )


def _under_prior(images, header, packed, model, device, progress, tuning, fallback):
    """(bytes, fallback codecs of the first header.plain images), or (None, those) where the prior cannot pay its start."""
    coded = [fallback(image.samples) for image in images[: header.plain]]
    alphas = [
        fallback(np.ascontiguousarray(image.alpha))
        for image in images[header.plain :]
        if image.alpha is not None
    ]
    first = _prefixed([packed] * bool(packed) + coded + alphas)
    arrays = [np.ascontiguousarray(image.colour) for image in images[header.plain :]]
    told = tuple(
        dataclasses.replace(entry, alike=image.alike)
        for entry, image in zip(header.entries[header.plain :], images[header.plain :])
    )
    header = dataclasses.replace(header, entries=header.entries[: header.plain] + told)
    result = prior_codec.encode_stack(arrays, header, model, device, progress, first, tuning)
    return container.write(*result) if result else None, coded


def may_start(images: list[ImageData], suited: list[bool]) -> bool:
    """Whether the suited ones of these images are enough for the prior to be tried."""
    sizes = [(image.height, image.width) for image, suits in zip(images, suited) if suits]
    return bool(sizes) and prior_codec.can_start(sizes)


def encode_images(
    images: list[ImageData],
    entries: tuple[Entry, ...],
    *,
    archive: bool,
    model=None,
    device="cpu",
    progress=lambda share: None,
    tuning=DEFAULT_STEPS,
) -> bytes:
    """The bytes of a file that holds these images: under the prior what it suits, unless all by fallback codec is smaller.

    stills: list of Still; entries: their Entry, in the same order.  In an archive the ones that the prior does not suit come first.
    """
    suited, fallback, prior = [may_suit(image) for image in images], Remembered(), None
    if may_start(images, suited):
        model = model if isinstance(model, Model) else Model.open(model)
        suited = [
            suits and (model.knows_gray or image.colour.shape[2] == 3)
            for image, suits in zip(images, suited)
        ]
        if archive:
            tried = [i for i, suits in enumerate(suited) if suits]
            for i, suits in zip(
                tried, suit_prior([images[i] for i in tried], model, device, fallback)
            ):
                suited[i] = suits
    if not may_start(images, suited):
        suited = [False] * len(images)
    order = sorted(range(len(images)), key=lambda i: _order(images[i], suited[i]))
    images, entries = [images[i] for i in order], tuple(entries[i] for i in order)
    packed, kinds = metadata.pack(images), metadata.kinds([(s.look, s.metadata) for s in images])
    lost = tuple(dict.fromkeys(name for image in images for name in image.lost))
    header, coded = (
        Header(
            entries, _digest(images, packed), archive, kinds, plain=suited.count(False), lost=lost
        ),
        [],
    )
    if any(suited):
        prior, coded = _under_prior(
            images, header, packed, model, device, progress, tuning, fallback
        )
        if prior and surely_smaller(len(prior), [image.samples for image in images]):
            return prior
    for image in images[len(coded) :]:
        coded.append(fallback(image.samples))
        if prior and sum(map(len, coded)) >= len(prior):
            return prior
    header = dataclasses.replace(
        header, plain=0, digest=header.digest if archive else header.digest[:4]
    )
    plain = container.write(header, _prefixed([packed] * bool(packed) + coded[:-1]) + coded[-1])
    return min([plain] + [prior] * bool(prior), key=len)


def _entry(image):
    if (
        max(image.height, image.width) > container.MAX_SIDE
        or image.height * image.width > container.MAX_PIXELS
    ):
        raise UnsupportedImage(f"{image.width}x{image.height} pixels are too many")
    return Entry(image.width, image.height, mode=image.mode, source=image.source)


def encode_image(
    image: ImageData,
    *,
    model=None,
    device="cpu",
    progress=lambda share: None,
    verify=False,
    tuning=DEFAULT_STEPS,
) -> bytes:
    """An ImageData -> the bytes of a .bbk file; the smaller of prior and fallback codec.

    model: a Model, a shipped name or a path (default: the shipped default); device: torch's; progress: called with the share
    done, 0..1; verify: decode the result and compare; tuning: effort spent on tuning the model to the image, in steps for a small one
    (tuning.py), 0 for none.  Errors: UnsupportedImage, WrongModel, VerifyFailed.
    """
    data = encode_images(
        [image],
        (_entry(image),),
        archive=False,
        model=model,
        device=device,
        progress=progress,
        tuning=tuning,
    )
    if verify:
        check(data, [image], model=model, device=device, progress=progress)
    return data


def encode(
    pixels: np.ndarray,
    *,
    model=None,
    device="cpu",
    progress=lambda share: None,
    tuning=DEFAULT_STEPS,
) -> bytes:
    """(H, W, 3) uint8 -> the bytes of a .bbk file.  Options and errors as encode_image's."""
    _check(pixels)
    return encode_image(
        ImageData("RGB", pixels, source="PNG"),
        model=model,
        device=device,
        progress=progress,
        tuning=tuning,
    )


def check(data: bytes, images: list[ImageData], **options) -> None:
    """Decodes a file and compares it with the images that went in, in any order.  Errors: VerifyFailed."""
    try:
        _, decoded = decode_images(data, **options)
    except DamagedFile as error:
        raise VerifyFailed(
            f"what was coded does not decode ({error}); nothing was written, please report it"
        ) from None
    left = list(images)
    for image in decoded:
        found = next((i for i, other in enumerate(left) if same(image, other)), None)
        if found is None:
            raise VerifyFailed(
                "what was coded decodes to another image; nothing was written, please report it"
            )
        del left[found]


def _read_fallback_parts(parts, header, images):
    """The mirror of what encode_images joins -> ([samples], [look and metadata], packed metadata).  Errors: DamagedFile."""
    reader = Reader(parts)
    packed = reader.take(reader.number(len(parts))) if header.metadata else b""
    count, samples = header.plain if header.model else len(header.entries), []
    for i, entry in enumerate(header.entries[:count]):
        bare = not header.model and i + 1 == count
        part = reader.take(len(parts) - reader.position if bare else reader.number(len(parts)))
        samples.append(
            decode_fallback(
                part, shape_of(entry.mode, entry.height, entry.width), MODES[entry.mode][0]
            )
        )
    alphas = [
        decode_fallback(reader.take(reader.number(len(parts))), (entry.height, entry.width))
        if entry.mode in ("RGBA", "LA")
        else None
        for entry in header.entries[count:]
    ]
    if header.model:
        unpack_fallback_parts(
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


def decode_images(
    data: bytes, *, model=None, device="cpu", progress=lambda share: None
) -> tuple[Header, list[ImageData]]:
    """The bytes of a file -> (Header, [ImageData]), checked against the digests inside.  Errors: NotOurFile, DamagedFile, WrongModel."""
    header, payload = container.read(data)
    arrays = []
    if header.model:
        if any(entry.mode not in UNDER_PRIOR for entry in header.entries[header.plain :]):
            raise DamagedFile("a mode that the prior does not code")
        locate(header.sizes, header.start, header.segments)
        model = Model.of_file(model, header.model)
        arrays = [np.empty(size, np.uint8) for size in header.sizes]
        views = [turned(pixels, header.flips) for pixels in arrays]
        chain, stack, top, masks, colours = prior_codec.open_stack(
            header, payload, model, views, device
        )
        pop_segments(
            chain, stack, views, header.start, header.segments, top, progress, masks, colours
        )
        payload = stack.credit(header.credit_bytes)
    samples, items, packed = _read_fallback_parts(payload, header, arrays)
    if metadata.kinds(items) != header.metadata:
        raise DamagedFile("the metadata are not those that the header names")
    try:
        lost = () if header.archive else header.lost
        images = [
            ImageData(e.mode, pixels, *item, e.source, lost)
            for e, pixels, item in zip(header.entries, samples, items)
        ]
    except UnsupportedImage as error:
        raise DamagedFile(str(error)) from None
    if header.archive:
        for entry, image in zip(header.entries, images):
            if entry.check != image_check(image.samples):
                raise DamagedFile(f"{entry.name}: the pixels do not match their checksum")
    if _digest(images, packed, len(header.digest)) != header.digest:
        raise DamagedFile("the pixels do not match their checksum")
    return header, images


def decode_image(
    data: bytes, *, model=None, device="cpu", progress=lambda share: None
) -> ImageData:
    """The bytes of a .bbk file of one image -> ImageData, checked against the digest inside.

    model: a Model or path where the file's own is not shipped.
    Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an archive.
    """
    if container.read_header(data).archive:
        raise UnsupportedImage("an archive of images; use codecs.archive")
    return decode_images(data, model=model, device=device, progress=progress)[1][0]


def decode(data: bytes, *, model=None, device="cpu", progress=lambda share: None) -> np.ndarray:
    """The bytes of a .bbk file of one RGB image -> (H, W, 3) uint8.  As decode_image; UnsupportedImage for other modes."""
    header = container.read_header(data)
    if not header.archive and header.entries[0].mode != "RGB":
        raise UnsupportedImage(
            f"an image of mode {header.entries[0].mode}; decode_image gives all of it"
        )
    return decode_image(data, model=model, device=device, progress=progress).samples


def image_check(samples):
    """16 bits of an image in an archive: which one is damaged, if the archive's digest fails."""
    return zlib.crc32(np.ascontiguousarray(samples)) & 0xFFFF
