"""Hostile files: what fuzz.py feeds to the decoder.  All is drawn from a seed, so a finding can be made again.

A Case holds the bytes and, where the images inside may come back unharmed, those images; None where the file itself is
another image than any we know, so that only its manners are judged.
"""

import json
import lzma
import zlib
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np

from bitsback.codecs import Encoder, checksums, decoder, encode_image, mode_decision, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.numbers import number
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.fallback.codec import DIFFERENCES, PNG, WEBP, encode_fallback
from bitsback.codecs.fallback.differences import FILTERS, LZMA
from bitsback.codecs.fallback.parts import join_parts
from bitsback.codecs.formats import chunks, metadata
from bitsback.codecs.image import MODES, ImageData, same, shape_of

EXTRAS = {
    "icc": b"profile" * 5,
    "exif": b"Exif\0\0MM\0*",
    "dpi": (72.0, 72.0),
    "text": (("Title", "\u00e4", "", "", False),),
}
NAMES = (
    "..",
    ".",
    "./.",
    "/etc/x",
    "a/../../x.png",
    "a\\x.png",
    "C:x.png",
    "",
    "x\0.png",
    "x" * 5000,
    "\x1b[2Jx\nbitsback: all is well.png",
    "\ud800.png",
    "a/",
    "//",
)


@dataclass(frozen=True)
class Case:
    """kind: a row of the report; expected: [ImageData] that may come back, or None."""

    kind: str
    name: str
    data: bytes
    expected: list | None = None


# --- good files ------------------------------------------------------------------------------


def _pixels(height, width, channels, rng):
    slope = (
        np.add.outer(np.arange(height) * 2, np.arange(width) * 3)[..., None]
        + np.arange(channels) * 20
    )
    return (slope + rng.integers(0, 9, (height, width, channels))).astype(np.uint8)


def image_of(mode, height, width, rng):
    """A small ImageData of any mode, with look and metadata."""
    dtype, channels = MODES[mode]
    samples = (
        _pixels(height, width, channels, rng).astype(dtype).reshape(shape_of(mode, height, width))
    )
    look = (
        {"palette": bytes(range(256)) * 3}
        if mode in ("P", "PA")
        else {"transparency": (1, 2, 3)}
        if mode == "RGB"
        else {}
    )
    return ImageData(mode, samples & 1 if mode == "1" else samples, look, EXTRAS)


def _under_prior(images, model, archive=False, deltas=None):
    """A file whose colours lie under the prior, though with random weights it loses; deltas: what its biases are moved by."""
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
    with (
        patch.object(mode_decision, "fallback_hopeless", lambda *_: True),
        patch.object(prior_codec, "SMALLEST", 1),
        patch.object(mode_decision, "prior_likely", lambda images, *_: [True] * len(images)),
        patch.object(prior_codec, "tune", lambda *_, **__: deltas),
        patch.object(prior_codec, "sharpness_of", lambda *_: 2),
    ):
        encoder = Encoder(model)
        return encoder.encode_many(images, entries) if archive else encoder.encode(images[0])


def good_files(model, rng) -> dict:
    """{name: (bytes, [ImageData])}: plain files of every mode, archives, and what lies under the prior."""
    found = {f"plain {mode}": [image_of(mode, 5, 7, rng)] for mode in MODES}
    found["plain bare"] = [ImageData("RGB", _pixels(3, 4, 3, rng))]
    files = {name: (encode_image(images[0]), images) for name, images in found.items()}
    bare = ImageData("RGB", _pixels(24, 32, 3, rng))
    several = [
        image_of("P", 6, 5, rng),
        ImageData("RGB", _pixels(20, 20, 3, rng)),
        ImageData("RGB", _pixels(20, 20, 3, rng)),
        image_of("RGBA", 24, 16, rng),
    ]
    for name, images, archive in (
        ("prior RGB", [bare], False),
        ("prior RGBA", [image_of("RGBA", 40, 24, rng)], False),
        ("prior archive", several, True),
    ):
        data = _under_prior(images, model, archive)
        decoded = decoder.decode_images(data, model=model)[1]  # an archive has an order of its own
        assert len(decoded) == len(images) and all(
            any(same(one, image) for image in images) for one in decoded
        ), f"{name} does not decode"
        files[name] = data, decoded
        assert container.read_header(files[name][0]).model, f"{name} is not under the prior"
    deltas = rng.integers(-3, 4, model.deltas.size, dtype=np.int32)
    gray = image_of("L", 24, 32, rng)
    told = _pixels(64, 64, 3, rng)
    told[:24] = 255
    hills = (
        20 + 200 * (np.arange(64) > 40)[:, None, None] + rng.integers(0, 5, (64, 64, 3))
    ).astype(np.uint8)
    for name, image, moved in (
        ("prior gray", gray, None),
        ("prior means", ImageData("RGB", hills), None),
        ("prior tuned", bare, deltas),
        ("prior told", ImageData("RGB", told), None),
        ("prior alike", ImageData("RGB", np.repeat(gray.samples[..., None], 3, 2)), None),
    ):
        files[name] = _under_prior([image], model, deltas=moved), [image]
    header = container.read_header(files["prior told"][0])
    assert (
        header.section(Tag.FLAT_MAP)
        and header.sharpness
        and container.read_header(files["prior means"][0]).section(Tag.BLOCK_MEANS)
    )
    entries = tuple(
        Entry(s.width, s.height, f"{i}.png", check=checksums.image_check(s.samples), mode=s.mode)
        for i, s in enumerate(several)
    )
    with patch.object(mode_decision, "prior_possible", lambda *_: False):
        files["plain archive"] = Encoder().encode_many(several, entries), several
    return files


def sealed(data) -> bytes:
    """Bytes with their right checksum behind them."""
    return bytes(data) + zlib.crc32(data).to_bytes(4, "little")


def fallback_file(images, packed=b"", payload=None, **changes) -> bytes:
    """A plain file whose digest is right whatever the metadata section `packed` holds; changes: fields of the Header."""
    entries = tuple(Entry(s.width, s.height, mode=s.mode) for s in images)
    coded = [encode_fallback(s.samples) for s in images]
    parts = join_parts(packed, coded[:-1], coded[-1])
    header = Header(entries, checksums.file_digest(images, packed, 4), **changes)
    return container.write(header, parts if payload is None else payload)


# --- bad ones --------------------------------------------------------------------------------


def truncations(name, data, images):
    """Every length short of the whole; behind a right checksum too, of a stack's words every 61st, since each is decoded."""
    header, payload = container.read(data)
    for length in range(len(data)):
        yield Case("cut short", name, data[:length], images)
        if length >= 6 and (
            not header.model or length < len(data) - len(payload) or length % 61 == 0
        ):
            yield Case("cut short, right CRC", name, sealed(data[:length]), images)


def flips(name, data, images, rng, body=60):
    """Every bit of the header and `body` bits of the rest, as they are and behind a right checksum."""
    length = len(data) - len(container.read(data)[1]) - 4
    bits = [
        *range(8 * length),
        *sorted(set(rng.integers(8 * length, 8 * len(data), body).tolist())),
    ]
    for bit in bits:
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        yield Case("one bit", name, bytes(altered), images)
        if bit < 8 * (len(data) - 4):
            yield Case("one bit, right CRC", name, sealed(altered[:-4]), images)


def random_bytes(rng, count):
    """Noise: bare, behind our magic, and behind a right checksum with a kind that exists."""
    for _ in range(count):
        noise = rng.bytes(int(rng.integers(0, 200)))
        yield Case("random bytes", "noise", noise)
        yield Case("random bytes", "noise after the magic", container.MAGIC + noise)
        head = container.MAGIC + bytes([container.VERSION, int(rng.integers(0, 16))])
        yield Case("random bytes, right CRC", "noise after a kind", sealed(head + noise))


def _numbers(header, rng):
    """One altered field, or two: hostile values of every number of a Header."""
    value = int(
        rng.choice([0, 1, 2, 3, 7, 8, 255, 2**12, 2**20, 2**24, 2**31, int(rng.integers(0, 2**40))])
    )
    entry, others = header.entries[0], header.entries[1:]
    choices = [
        {"metadata": value},
        {"metadata": header.metadata ^ 1 << int(rng.integers(0, 27))},
        {"digest": bytes(len(header.digest))},
        {"entries": (replace(entry, width=max(value, 1)), *others)},
        {"entries": (replace(entry, height=max(value, 1)), *others)},
        {"entries": (replace(entry, mode=[*MODES][value % len(MODES)], alike=False), *others)},
        {"entries": header.entries[::-1]},
        {
            "entries": (
                replace(entry, alike=not entry.alike and entry.mode in ("RGB", "RGBA")),
                *others,
            )
        },
        {"entries": header.entries * 3},
    ]
    if header.archive:
        choices += [
            {"entries": (replace(entry, check=value & 0xFFFF), *others)},
            {"entries": (replace(entry, mtime=value - 2**39), *others)},
            {"entries": (replace(entry, permissions=value), *others)},
            {"plain": value},
        ]
    if header.model:
        which = int(rng.integers(0, len(header.segments)))
        segment = (int(rng.integers(0, 3)), value)
        choices += [
            {"model": "0" * 16},
            {"sections": {**header.sections, int(rng.integers(1, 5)): rng.bytes(value % 40 + 1)}},
            {"sections": {}},
            {"credit_bytes": value},
            {"flips": value % 4},
            {"start": tuple(rng.permutation([0, value % 99, 8]).tolist())},
            {"segments": (*header.segments[:which], segment, *header.segments[which + 1 :])},
            {"segments": (*header.segments, segment)},
            {"segments": header.segments[:-1]},
            {"top": tuple(rng.integers(-(2**15), 2**15, 6).tolist())},
            {
                "top": tuple(
                    int(n)
                    for pair in zip(rng.integers(-999, 999, 3), rng.integers(0, 113, 3))
                    for n in pair
                )
            },
        ]
    changes = {}
    for _ in range(int(rng.integers(1, 3))):
        changes |= choices[int(rng.integers(0, len(choices)))]
    return changes


def numbers(name, data, images, rng, count):
    """Altered numbers, some behind a right digest of other sizes; those that cannot be written are left out."""
    header, payload = container.read(data)
    for _ in range(count):
        try:
            yield Case(
                "numbers, right CRC",
                name,
                container.write(replace(header, **_numbers(header, rng)), payload),
                images,
            )
        except (OverflowError, ValueError):
            continue


def lying_sizes(model_id):
    """Little files that claim to be huge, for each coder; also a ten-byte one of 2^31 x 2^31."""
    most = number(2**31)
    yield Case(
        "lying size", "ten bytes", (container.MAGIC + bytes([container.VERSION, 0, 0]) + most)[:10]
    )
    yield Case(
        "lying size",
        "2^31 x 2^31, right CRC",
        sealed(container.MAGIC + bytes([container.VERSION, 0, 0]) + most + most),
    )
    for width, height in ((2**24, 2**7), (46340, 46340), (16383, 16383), (9000, 9000)):
        for mode in ("RGB", "L", "RGBA;16", "F"):
            for payload in (
                b"",
                bytes([DIFFERENCES, LZMA]),
                bytes([DIFFERENCES, 0]) + zlib.compress(bytes(99)),
                bytes([PNG]) + zlib.compress(bytes(99)),
                bytes([WEBP, 0x2F])
                + (width - 1 & 0x3FFF | (height - 1 & 0x3FFF) << 14).to_bytes(4, "little")
                + bytes(9),
            ):
                yield Case(
                    "lying size",
                    f"{mode} {width}x{height}",
                    container.write(Header((Entry(width, height, mode=mode),), bytes(4)), payload),
                )
        for scale in (0, 64, 112):
            rows = max(1, 2**21 // width // 8 * 8)
            down = ((1, rows),) * (height // rows) + ((1, height % rows),) * bool(height % rows)
            header = Header(
                (Entry(width, height),),
                bytes(8),
                model=model_id[:16],
                segments=down,
                top=(0, scale) * 3,
            )
            for size in (2, 5000):
                yield Case(
                    "lying size",
                    f"stack {width}x{height}",
                    container.write(header, bytes(range(1, 5)) * size),
                )
    header = Header(tuple(Entry(1, 1, f"{i}") for i in range(3)), bytes(8), archive=True)
    yield Case(
        "lying size",
        "archive",
        container.write(header, b"").replace(number(3) + b"x\xda", number(2**24) + b"x\xda"),
    )


# --- what unpacks to much --------------------------------------------------------------------


def deflate_bomb(piece, count) -> bytes:
    """zlib bytes that unpack to `piece` `count` times over; made by repeating one flushed block, so quickly."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"x\xda" + block * count + packer.flush()


def lzma_bomb(piece, count) -> bytes:
    """Raw LZMA2 that unpacks to `piece` `count` times over: its chunks, each of which begins anew."""
    return lzma.compress(piece, lzma.FORMAT_RAW, filters=FILTERS)[:-1] * count + b"\0"


def bombs(mebibytes):
    """In metadata, in samples and in an index: `mebibytes` MiB and more out of little."""
    zeros, image = bytes(2**20), ImageData("RGB", np.zeros((2, 2, 3), np.uint8))
    for name, packed in (
        ("deflate", b"\1" + deflate_bomb(zeros, mebibytes)),
        ("LZMA", b"\2" + lzma_bomb(zeros, mebibytes)),
        (
            "empty texts",
            b"\1"
            + zlib.compress(b"\1\x0a" + number(5 * 2**20) + number(2**20) + bytes(5 * 2**20 - 3)),
        ),
        ("colours", b"\1" + zlib.compress(b"\1\2" + number(2**23 + 1) + b"\1" + bytes(2**23))),
    ):
        yield Case("bomb", f"metadata, {name}", fallback_file([image], packed, metadata=2**10 - 1))
    for name, body in (
        ("deflate", bytes([DIFFERENCES, 0]) + deflate_bomb(zeros, mebibytes)),
        ("LZMA", bytes([DIFFERENCES, LZMA]) + lzma_bomb(zeros, mebibytes)),
        ("PNG", bytes([PNG]) + deflate_bomb(zeros, mebibytes)),
    ):
        yield Case("bomb", f"samples, {name}", fallback_file([image], payload=body))
    for piece, opening in (
        (b"[],", b"["),
        (b"[" * 9, b""),
        (b" " * 9, b"["),
        (b"1" * 9, b"["),
        ('"\U0001f600",'.encode(), b"["),
        (b'["",1,1,0,0,0],', b"["),
    ):
        pieces = 2**20 // len(piece)
        index = (
            deflate_bomb(piece * pieces, mebibytes)
            if not opening
            else _index_bomb(opening, piece * pieces, mebibytes)
        )
        checks = bytes(2 * 40000)
        head = (
            container.MAGIC
            + bytes([container.VERSION, container.ARCHIVE])
            + number(len(index + checks))
            + number(40000)
        )
        yield Case(
            "bomb", f"index, {piece[:9].decode()}", sealed(head + index + checks + bytes(99))
        )


def _index_bomb(opening, piece, count):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(opening) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"x\xda" + begin + deflate_bomb(piece, count)[2:]


# --- what is well made and means harm --------------------------------------------------------


def odd_metadata(rng, count):
    """Nonsense in every item of look and metadata, behind right digests: it must come back, or be refused, through every writer."""
    odd = [float("nan"), float("inf"), -1.0, 0.0, 1e300, 5e-324]
    for _ in range(count):
        mode = str(
            rng.choice(["RGB", "P", "L", "1", "I;16", "RGBA", "CMYK", "F", "I", "RGB;16", "LA"])
        )
        pick = lambda: odd[int(rng.integers(0, len(odd)))]  # noqa: E731
        noise = lambda: rng.bytes(int(rng.integers(0, 60)))  # noqa: E731
        word = lambda: "".join(map(chr, rng.integers(0, 0x2000, int(rng.integers(0, 90)))))  # noqa: E731
        items = {
            "palette": noise(),
            "palette_alpha": noise(),
            "icc": noise(),
            "xmp": noise(),
            "dpi": (pick(), pick()),
            "transparency": [noise(), 2**16, (1, 2**16, 3), (1, 2)][int(rng.integers(0, 4))],
            "exif": [noise(), b"Exif\0\0" + noise(), b"Exif\0\0II*\0\x08\0\0\0" + noise()][
                int(rng.integers(0, 3))
            ],
            "gamma": pick(),
            "chromaticity": tuple(pick() for _ in range(8)),
            "srgb": int(rng.integers(0, 256)),
            "text": (
                (word(), word(), word(), word(), bool(rng.integers(0, 2))),
                ("Comment", "x" * 2000, "", "", False),
            ),
            "png": tuple(
                (chunks.KNOWN[1 + int(rng.integers(0, 26))], place, noise())
                for place in (0, 0, 1, 2)
            ),
            "tiff": tuple(
                (270 + i, int(rng.integers(1, 3)), noise()) for i in range(9) if i not in (3, 7, 8)
            )
            + ((34665, 0, ()),),
        }
        items["png"] = tuple(entry for entry in items["png"] if entry[0] != b"IHDR")
        chosen = {key: value for key, value in items.items() if rng.random() < 0.3}
        if mode == "P":
            chosen["palette"] = bytes(range(60)) if rng.random() < 0.7 else noise()
        image = replace(
            image_of(mode, 3, 4, rng),
            look={k: v for k, v in chosen.items() if k in metadata.LOOK},
            metadata={k: v for k, v in chosen.items() if k not in metadata.LOOK},
        )
        packed = metadata.pack([image])
        yield Case(
            "odd metadata, right digest",
            mode,
            fallback_file([image], packed, metadata=metadata.kinds([(image.look, image.metadata)])),
        )


def odd_names():
    """Archives whose names would leave the folder, forge messages or cannot be written."""
    pixels = np.zeros((1, 1, 3), np.uint8)
    digest, part = pixel_digest([pixels]), encode_fallback(pixels)
    for name in NAMES:
        rows = [[name, 1, 1, 0o644, 0, 0]]
        index = zlib.compress(json.dumps(rows).encode(), 9) + checksums.image_check(
            pixels
        ).to_bytes(2, "little")
        head = (
            container.MAGIC
            + bytes([container.VERSION, container.ARCHIVE])
            + number(len(index))
            + number(1)
        )
        yield Case("odd name, right digest", ascii(name[:40]), sealed(head + index + digest + part))
