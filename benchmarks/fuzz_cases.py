"""Files for benchmarks/fuzz.py: good ones of every kind, and what a hostile file is made with.

All is drawn from a seed, so that a finding can be made again.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np

from bitsback.codecs import Encoder, checksums, decoder, encode_image, mode_decision, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.fallback import jxl
from bitsback.codecs.fallback.codec import JXL, encode_fallback
from bitsback.codecs.fallback.parts import join_parts
from bitsback.codecs.image import MODES, ImageData, same, shape_of
from bitsback.codecs.segment_layout import locate
from bitsback.codecs.segments import lane_counts
from bitsback.coder.model import Model

EXTRAS = {
    "icc": b"profile" * 5,
    "exif": b"Exif\0\0MM\0*",
    "dpi": (72.0, 72.0),
    "text": (("Title", "\u00e4", "", "", False),),
}


Files = dict[str, tuple[bytes, list[ImageData]]]  # name: (bytes, the images inside)


@dataclass(frozen=True)
class Case:
    """kind: a row of the report; expected: the images that may come back, or None.

    None: the file itself holds another image than the good files, so that any image may come back.
    """

    kind: str
    name: str
    data: bytes
    expected: list[ImageData] | None = None


def smooth_pixels(height: int, width: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, channels) uint8: a slope with a little noise."""
    slope = (
        np.add.outer(np.arange(height) * 2, np.arange(width) * 3)[..., None]
        + np.arange(channels) * 20
    )
    return (slope + rng.integers(0, 9, (height, width, channels))).astype(np.uint8)


def image_of(mode: str, height: int, width: int, rng: np.random.Generator) -> ImageData:
    """A small ImageData of any mode, with look and metadata."""
    dtype, channels = MODES[mode]
    samples = (
        smooth_pixels(height, width, channels, rng)
        .astype(dtype)
        .reshape(shape_of(mode, height, width))
    )
    look = (
        {"palette": bytes(range(256)) * 3}
        if mode in ("P", "PA")
        else {"transparency": (1, 2, 3)}
        if mode == "RGB"
        else {}
    )
    return ImageData(mode, samples & 1 if mode == "1" else samples, look, EXTRAS)


def deep_image(height: int, width: int, rng: np.random.Generator) -> ImageData:
    """An RGB image of 12 of 16 bits with alpha."""
    samples = smooth_pixels(height, width, 4, rng).astype(np.uint16) << 8
    return ImageData("RGBA;16", samples | rng.integers(0, 16, samples.shape, np.uint16) << 4)


@contextmanager
def forced_prior(updates: np.ndarray | None = None) -> Iterator[None]:
    """Whatever is compressed in the block is under the prior, be its weights random.

    updates: bias updates, int32.
    """
    with (
        patch.object(mode_decision, "fallback_hopeless", lambda *_: True),
        patch.object(prior_codec, "SMALLEST", 1),
        patch.object(mode_decision, "prior_likely", lambda images, *_: [True] * len(images)),
        patch.object(prior_codec, "tune", lambda *_, **__: updates),
        patch.object(prior_codec, "sharpness_of", lambda *_: 2),
    ):
        yield


def under_prior(
    images: list[ImageData],
    model: Model,
    archive: bool = False,
    updates: np.ndarray | None = None,
) -> bytes:
    """A file under the prior, which the encoder would not choose with random weights.

    updates: bias updates, int32.
    """
    entries = tuple(
        Entry(
            s.width,
            s.height,
            f"{i}.png" * archive,
            check=checksums.image_check(s.samples) * archive,
            mode=s.mode,
        )
        for i, s in enumerate(images)
    )
    with forced_prior(updates):
        encoder = Encoder(model)
        return encoder.encode_many(images, entries) if archive else encoder.encode(images[0])


def good_files(model: Model, rng: np.random.Generator) -> Files:
    """Files under the fallback codec of every mode, archives, and files under the prior."""
    found = {f"fallback {mode}": [image_of(mode, 5, 7, rng)] for mode in MODES}
    found["fallback bare"] = [ImageData("RGB", smooth_pixels(3, 4, 3, rng))]
    files = {name: (encode_image(images[0]), images) for name, images in found.items()}
    bare = ImageData("RGB", smooth_pixels(24, 32, 3, rng))
    several = [
        image_of("P", 6, 5, rng),
        ImageData("RGB", smooth_pixels(20, 20, 3, rng)),
        ImageData("RGB", smooth_pixels(20, 20, 3, rng)),
        image_of("RGBA", 24, 16, rng),
    ]
    for name, images, archive in (
        ("prior RGB", [bare], False),
        ("prior RGBA", [image_of("RGBA", 40, 24, rng)], False),
        ("prior 16 bits", [deep_image(24, 32, rng)], False),
        ("prior archive", several, True),
    ):
        data = under_prior(images, model, archive)
        _, decoded = decoder.decode_images(data, model=model)  # an archive may reorder images
        assert len(decoded) == len(images) and all(
            any(same(one, image) for image in images) for one in decoded
        ), f"{name} does not decode"
        files[name] = data, decoded
        assert container.read_header(files[name][0]).model, f"{name} is not under the prior"
    updates = rng.integers(-3, 4, model.update_codec.size, dtype=np.int32)
    gray = image_of("L", 24, 32, rng)
    flat = smooth_pixels(64, 64, 3, rng)
    flat[:24] = 255
    hills = (
        20 + 200 * (np.arange(64) > 40)[:, None, None] + rng.integers(0, 5, (64, 64, 3))
    ).astype(np.uint8)
    for name, image, moved in (
        ("prior gray", gray, None),
        ("prior means", ImageData("RGB", hills), None),
        ("prior tuned", bare, updates),
        ("prior flat", ImageData("RGB", flat), None),
        ("prior alike", ImageData("RGB", np.repeat(gray.samples[..., None], 3, 2)), None),
        ("prior lanes", ImageData("RGB", smooth_pixels(112, 112, 3, rng)), None),
    ):
        files[name] = under_prior([image], model, updates=moved), [image]
    header = container.read_header(files["prior flat"][0])
    assert (
        header.section(Tag.FLAT_MAP)
        and header.sharpness
        and container.read_header(files["prior means"][0]).section(Tag.BLOCK_MEANS)
    )
    header = container.read_header(files["prior lanes"][0])
    plan = locate(header.sizes, header.start, header.segments)
    assert lane_counts(header.sizes, plan, None, header.lanes)[-1] > 1
    entries = tuple(
        Entry(s.width, s.height, f"{i}.png", check=checksums.image_check(s.samples), mode=s.mode)
        for i, s in enumerate(several)
    )
    with patch.object(mode_decision, "prior_possible", lambda *_: False):
        files["fallback archive"] = Encoder().encode_many(several, entries), several
    return files | {"fallback JPEG XL": by_jxl(ImageData("LA;16", gray_and_alpha(rng)))}


def gray_and_alpha(rng: np.random.Generator) -> np.ndarray:
    """(24, 32, 2) uint16, smooth."""
    return 250 * smooth_pixels(24, 32, 2, rng).astype("<u2")


def by_jxl(image: ImageData) -> tuple[bytes, list[ImageData]]:
    """(file, [image]) under JPEG XL, which may not be the smallest."""
    coded = bytes([JXL]) + jxl.encode_jxl(image.samples, jxl.USUAL)
    return fallback_file([image], payload=coded), [image]


def grouped_file(files: Files) -> tuple[bytes, list[ImageData]]:
    """An archive in three groups, of good files: two copies, under names of their own."""
    groups, images = [], []
    for name, kind in (("a", "prior archive"), ("b", "fallback archive"), ("c", "prior archive")):
        data, some = files[kind]
        header, payload = container.read(data)
        entries = tuple(replace(entry, name=f"{name}/{entry.name}") for entry in header.entries)
        groups.append((len(some), container.write(replace(header, entries=entries), payload)))
        images += some
    return container.write_groups(groups), images


def sealed(data: bytes | bytearray) -> bytes:
    """The bytes followed by their correct checksum."""
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def fallback_file(
    images: list[ImageData], packed: bytes = b"", payload: bytes | None = None, **changes: Any
) -> bytes:
    """A file under the fallback codec with a correct digest for any metadata section `packed`.

    payload: instead of the correct one; changes: fields of the Header.
    """
    entries = tuple(Entry(s.width, s.height, mode=s.mode) for s in images)
    coded = [encode_fallback(s.samples) for s in images]
    parts = join_parts(packed, coded[:-1], coded[-1])
    header = Header(entries, checksums.file_digest(images, packed, 4), **changes)
    return container.write(header, parts if payload is None else payload)
