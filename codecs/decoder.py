"""The bytes of a file -> images, checked against the digests inside."""

import os
from collections.abc import Callable

import numpy as np

from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Header
from bitsback.codecs.bitstream.version import known_to_version
from bitsback.codecs.checksums import checked_images
from bitsback.codecs.fallback.parts import split_parts
from bitsback.codecs.formats.metadata import pack
from bitsback.codecs.image import UNDER_PRIOR, ImageData, same, same_samples
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import pop_segments
from bitsback.coder.ledger import Ledger
from bitsback.coder.model import Model
from bitsback.devices import current, require
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage, VerifyFailed

ModelOption = Model | str | os.PathLike | None  # a Model, a shipped name, a path, or the default
Packed = bytes | bytearray | memoryview | np.ndarray  # bytes of a file
Progress = Callable[[float], None]  # called with the share done, 0..1, after each segment
# Called before the first segment with the (H, W, C) uint8 of the images under the prior, which
# segments are decoded into; the rest of them is anything, and nothing is checked until the end.
Begun = Callable[[list[np.ndarray]], None]


def no_progress(share: float) -> None:
    """Ignores the share done."""


def shared(progress: Progress, number: int, count: int) -> Progress:
    """The progress of one of `count` equal parts."""
    return lambda share: progress((number + share) / count)


def decode_images(
    data: bytes,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
    ledger: Ledger | None = None,
) -> tuple[Header, list[ImageData]]:
    """The bytes of a file -> (Header, its images), of an archive in groups those of all.

    Options as decode_image; ledger: records the bits of each segment, level, coding pass and
    colour, not of a file in groups.

    Errors: NotOurFile, DamagedFile, WrongModel.
    """
    groups, headers, images = container.read_groups(data), [], []
    for i, group in enumerate(groups):
        try:
            header, some = decode_group(
                group.of(data),
                group,
                model=model,
                device=device,
                progress=shared(progress, i, len(groups)),
                ledger=ledger,
            )
        except (DamagedFile, NotOurFile) as error:
            raise type(error)(container.in_group(i, len(groups), error)) from None
        headers.append(header)
        images += some
    return container.joined_header(headers), images


def decode_group(
    data: bytes,
    group: container.Group,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
    ledger: Ledger | None = None,
    begun: Begun | None = None,
) -> tuple[Header, list[ImageData]]:
    """The bytes of one group of a file -> (its Header, its images).  The rest as decode_images'."""
    header, payload = container.read_group(data, group)
    with known_to_version(data):
        return header, decode_payload(header, payload, model, device, progress, ledger, begun)


def decode_payload(
    header: Header,
    payload: bytes,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
    ledger: Ledger | None = None,
    begun: Begun | None = None,
) -> list[ImageData]:
    """The images of a file or group that was read, checked.  Options, errors: decode_images'."""
    colours: list[np.ndarray] = []
    gaussians = None
    require(device)  # also where this file needs none: the next one may
    if header.model:
        with current(device):
            decoded = _decode_stack(header, payload, model, device, progress, ledger, begun)
        colours, payload, gaussians = decoded
    return checked_images(header, split_parts(payload, header), colours, gaussians)


def _decode_stack(header, payload, model, device, progress, ledger, begun):
    """([(H, W, C) uint8] of the images under the prior, the fallback parts, the Gaussians)."""
    if any(entry.mode not in UNDER_PRIOR for entry in header.entries[header.fallback_count :]):
        raise DamagedFile("a mode that the prior does not code")
    locate(header.sizes, header.start, header.segments)
    model = Model.of_file(model, header.model)
    arrays = [np.empty(size, np.uint8) for size in header.sizes]
    views = [turned(pixels, header.flips) for pixels in arrays]
    chain, stack, top, masks, counts = prior_codec.open_stack(header, payload, model, views, device)
    if begun:
        begun(arrays)
    arguments = views, header.start, header.segments, top, progress, masks, counts, ledger
    pop_segments(chain, stack, *arguments, header.lanes)
    return arrays, stack.credit(header.credit_bytes), model.gaussians


def bytes_of(data: Packed) -> bytes:
    """bytes of any object that has them.  Errors: TypeError."""
    if isinstance(data, bytes):
        return data
    return data.tobytes() if isinstance(data, np.ndarray) else memoryview(data).tobytes()


def decode_image(
    data: Packed,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> ImageData:
    """The bytes of a .bbk file of one image -> ImageData.

    model: a Model, name or path, needed only where the file's own is not shipped; device: torch's.
    Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an archive; TypeError for a
    path or another object without bytes.

    >>> from bitsback.codecs import encode_image
    >>> gray = ImageData("L", np.eye(5, dtype=np.uint8), metadata={"dpi": (72.0, 72.0)})
    >>> decode_image(encode_image(gray)).metadata
    {'dpi': (72.0, 72.0)}
    """
    packed = bytes_of(data)
    if container.read_header(packed).archive:
        raise UnsupportedImage("an archive of images, which bitsback.Archive opens")
    return decode_images(packed, model=model, device=device, progress=progress)[1][0]


def decode(
    data: Packed,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> np.ndarray:
    """The bytes of a .bbk file of one RGB image -> (H, W, 3) uint8.

    As decode_image; UnsupportedImage for other modes.

    >>> from bitsback.codecs import encode, read_header
    >>> pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> data = encode(pixels)
    >>> bool((decode(data) == pixels).all()), read_header(data).width
    (True, 4)
    """
    packed = bytes_of(data)
    header = container.read_header(packed)
    if not header.archive and header.entries[0].mode != "RGB":
        raise UnsupportedImage(
            f"an image of mode {header.entries[0].mode}; decode_image returns all of it"
        )
    return decode_image(packed, model=model, device=device, progress=progress).samples


def check(
    data: bytes,
    images: list[ImageData],
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Decodes a file and compares it with the images that went in, in any order.

    Errors: VerifyFailed, WrongModel.
    """
    try:
        _, decoded = decode_images(data, model=model, device=device, progress=progress)
    except DamagedFile as error:
        raise VerifyFailed(
            f"what was coded does not decode ({error}); nothing was written, please report it"
        ) from None
    left = list(images)
    for image in decoded:
        found = next((i for i, other in enumerate(left) if _is_held(image, other)), None)
        if found is None:
            raise VerifyFailed(
                "what was coded decodes to another image; nothing was written, please report it"
            )
        del left[found]


def _is_held(image, given):
    """Whether an image is what was given, whose metadata may be lists where a file has tuples."""
    return same(image, given) or (
        image.mode == given.mode
        and same_samples(image.samples, given.samples)
        and pack([image]) == pack([given])
    )
