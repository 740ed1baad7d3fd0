"""What a picture carries besides samples: palette and transparency, profiles, Exif, XMP, resolution, text.

What came from a PNG or TIFF is kept as it was there, chunks (chunks.py) or tags (tags.py), under one key; `views` makes of them
what other formats hold, as Pillow reads it.  What came from other files is kept as Pillow reads it.

In memory two dicts, `look` and `metadata` of a Still; in a file one section for all pictures:

    1       how it is packed: 0 not, 1 deflate, 2 LZMA
    ...     for each picture: LEB128 number of items, then for each item
            1 tag, LEB128 length, value

Numbers are little-endian doubles, so that what Pillow read comes back exactly.
"""
import lzma
import math
import struct
import warnings
import zlib

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import DamagedFile, UnsupportedImage
from . import chunks, losses, tags
from .deltas import FILTERS, inflate
from .numbers import Reader, number

LIMIT = 2**24                   # bytes of one picture's items, unpacked
TOGETHER = 16 * LIMIT           # ... of all pictures of an archive
TEXTS = 2**18                   # pieces of text, chunks and tags in a file: empty ones take a hundred times their bytes in memory
ROOM = LIMIT - 2**16            # bytes of chunks or tags that are taken from one file, so that palette and the like still fit
LOOK = ("palette", "palette_alpha", "transparency")             # tags 0, 1, 2: not metadata, never stripped
METADATA = ("icc", "exif", "xmp", "dpi", "gamma", "chromaticity", "srgb", "text")
WHOLE = ("png", "tiff")                                         # tags 11, 12: chunks, tags
TAGS = LOOK + METADATA + WHOLE
KINDS = LOOK + METADATA + ("lost", "cICP", "sBIT", "png", "bKGD", "pHYs", "tIME", "mDCV", "cLLI", "hIST", "sPLT", "PLTE",
                           "tiff", "iptc", "photoshop", "geotiff")      # bits of a header's mask; "lost" is container.LOST
DOUBLES = {"dpi": 2, "gamma": 1, "chromaticity": 8}
HOLDS = {"PNG": set(METADATA), "WEBP": {"icc", "exif", "xmp"}, "TIFF": {"icc", "exif", "xmp", "dpi"}, "BMP": {"dpi"}}
ORIENTATION, XMP, RESOLUTION = 0x112, 0x2BC, 0x11A
TIFF_TAGS = (0x10E, 0x10F, 0x110, ORIENTATION, 0x131, 0x132, 0x13B, 0x8298)     # description, camera, orientation, software, date, artist, copyright
TIFF_FOLDERS = (0x8769, 0x8825)                                         # Exif, GPS


# --- Pillow -> dicts -------------------------------------------------------------------------


def _tiff_exif(image, orientation):
    """The Exif block of a loaded TIFF, whose tags lie in the file's own folder; None if there is none."""
    found, exif = image.getexif(), Image.Exif()
    for tag in TIFF_TAGS:
        if tag in found:
            exif[tag] = found[tag]
    for folder in TIFF_FOLDERS:
        if tags := found.get_ifd(folder):
            exif.get_ifd(folder).update(tags)
            exif[folder] = exif.get_ifd(folder)
    if orientation != 1:
        exif[ORIENTATION] = orientation
    return exif.tobytes() if len(exif) else None


def gather(image: Image.Image, before: dict, orientation: int = 1) -> dict:
    """A loaded Pillow image -> metadata, only what is there.

    before, orientation: the info and a TIFF's orientation as they were before loading, when Pillow changes both.
    """
    info, found = {**image.info, **before}, {}
    text = image.text if image.format == "PNG" else {}
    found["icc"] = info.get("icc_profile")
    found["exif"] = _tiff_exif(image, orientation) if image.format == "TIFF" else info.get("exif")
    found["xmp"] = info.get("xmp")
    found["dpi"] = None if image.format == "TIFF" and RESOLUTION not in image.tag_v2 else info.get("dpi")         # Pillow says 1 where there is none
    for key in ("gamma", "chromaticity"):
        found[key] = info.get(key)
    found["srgb"] = info.get("srgb")
    texts = [(key, str(value), getattr(value, "lang", None) or "", getattr(value, "tkey", None) or "", hasattr(value, "lang"))
             for key, value in text.items() if key != "XML:com.adobe.xmp"]
    if isinstance(info.get("comment"), bytes):
        texts.append(("Comment", info["comment"].decode("latin-1"), "", "", False))
    for key in DOUBLES:
        try:
            values = tuple(map(float, found[key] if isinstance(found[key], (tuple, list)) else (found[key],)))
        except (TypeError, ValueError, ZeroDivisionError):
            values = ()
        good = len(values) == DOUBLES[key] and all(map(math.isfinite, values)) and (key != "dpi" or min(values) > 0)
        found[key] = (values[0] if DOUBLES[key] == 1 else values) if good else None
    if isinstance(found["xmp"], str):
        found["xmp"] = found["xmp"].encode()
    return {key: value for key, value in {**found, "text": tuple(texts)}.items() if value not in (None, b"", ())}


def carried(image: Image.Image, stream, look: dict, before: dict, orientation: int = 1) -> tuple[dict, tuple]:
    """A loaded Pillow image and its file's stream -> (metadata, names of what the file has besides).  The rest as `gather`."""
    if image.format == "PNG":
        found, lost = chunks.read_chunks(stream, look, ROOM, TEXTS)
        return {"png": found} if found else {}, lost
    if image.format == "TIFF":
        found, lost = tags.read_tags(stream, ROOM, TEXTS)
        return {"tiff": found} if found else {}, lost
    found = gather(image, before, orientation)
    return found, losses.losses(image, stream, found)


def views(metadata: dict) -> dict:
    """Metadata with chunks and tags as Pillow reads them; those that it cannot read are left out."""
    found = {key: value for key, value in metadata.items() if key not in WHOLE}
    for key, show in (("png", chunks.shown), ("tiff", tags.shown)):
        if key in metadata:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")             # Pillow's remarks about damaged metadata
                    image = show(metadata[key])
                    found |= gather(image, dict(image.info), image.getexif().get(ORIENTATION, 1) if key == "tiff" else 1)
            except Exception:       # Pillow's plugins raise a dozen kinds on odd chunks
                continue
    return found


def told(metadata: dict) -> list[str]:
    """Names of all that there is, for people: keys, and what chunks and tags are called."""
    return [name for key, value in metadata.items() for name in (chunks.names(value) if key == "png" else tags.names(value) if key == "tiff" else [key])]


def missing(metadata: dict, written: dict) -> list[str]:
    """Names of what a picture carries and a file made of it does not, or not as it was where that is of the same kind."""
    for key in WHOLE:
        if key in metadata and key in written:
            kept = [entry for entry in metadata[key] if entry not in written[key]]
            return told({key: kept}) if kept else []
    return [name for name in told(metadata) if name not in told(written)]


# --- dicts -> Pillow -------------------------------------------------------------------------


def _png_info(metadata):
    info, packed = PngInfo(), lambda values: b"".join(struct.pack(">I", max(0, min(2**31 - 1, int(v * 100000 + 0.5)))) for v in values)
    if "gamma" in metadata:
        info.add(b"gAMA", packed([metadata["gamma"]]))
    if "chromaticity" in metadata:
        info.add(b"cHRM", packed(metadata["chromaticity"]))
    if "srgb" in metadata:
        info.add(b"sRGB", bytes([metadata["srgb"]]))
    for key, value, language, translated, international in metadata.get("text", ()):
        if international:
            info.add_itxt(key, value, language, translated, zip=len(value) > 1000)
        else:
            info.add_text(key, value, zip=len(value) > 1000)
    if "xmp" in metadata:
        info.add_itxt("XML:com.adobe.xmp", metadata["xmp"])
    return info


def save_options(metadata: dict, file_format: str) -> dict:
    """Keyword arguments of Image.save that write what the format holds; chunks to PNG and tags to TIFF are not Pillow's to write."""
    metadata = {} if {"PNG": "png", "TIFF": "tiff"}.get(file_format) in metadata else views(metadata)
    held = {key: value for key, value in metadata.items() if key in HOLDS.get(file_format, ())}
    options = {}
    for key, option in (("icc", "icc_profile"), ("exif", "exif"), ("dpi", "dpi")):
        if key in held:
            options[option] = held[key]
    if "dpi" in held:
        options["dpi"] = tuple(held["dpi"])
    if file_format == "PNG":
        options["pnginfo"] = _png_info(held)
    elif file_format == "TIFF" and "xmp" in held:
        exif = Image.Exif()
        exif.load(held.get("exif", b""))
        exif[XMP] = held["xmp"]
        options["exif"] = exif
    elif "xmp" in held:
        options["xmp"] = held["xmp"]
    return options


# --- dicts -> bytes and back -----------------------------------------------------------------


def _value(key, value):
    if key in DOUBLES:
        return struct.pack(f"<{DOUBLES[key]}d", *(value if DOUBLES[key] > 1 else (value,)))
    if key == "srgb":
        return number(value)
    if key == "transparency":           # bytes: one alpha an index; numbers: the one transparent colour
        return b"\0" + value if isinstance(value, bytes) else b"\1" + b"".join(map(number, value if isinstance(value, tuple) else (value,)))
    if key in WHOLE:
        return chunks.pack_chunks(value) if key == "png" else tags.pack_tags(value)
    if key == "text":
        parts = [part.encode("utf-8", "surrogatepass") for item in value for part in item[:4]]
        flags = bytes(item[4] for item in value)
        return number(len(flags)) + flags + b"".join(number(len(part)) + part for part in parts)
    return bytes(value)


def _read_value(key, data, most_texts):
    if key in DOUBLES:
        values = struct.unpack(f"<{DOUBLES[key]}d", data)
        return values[0] if DOUBLES[key] == 1 else values
    if key in WHOLE:
        return (chunks.unpack_chunks if key == "png" else tags.unpack_tags)(data, most_texts)
    reader = Reader(data)
    if key == "srgb":
        return reader.number(255)
    if key == "transparency":
        if reader.take(1) == b"\0":
            return data[1:]
        values = []
        while reader.position < len(data):
            values.append(reader.number(2**16))
            if len(values) > 4:
                raise DamagedFile("a transparent colour of too many numbers")
        return values[0] if len(values) == 1 else tuple(values)
    if key == "text":
        flags = reader.take(reader.number(most_texts))
        items = [[reader.take(reader.number(len(data))).decode("utf-8", "surrogatepass") for _ in range(4)] for _ in flags]
        return tuple((*item, bool(flag)) for item, flag in zip(items, flags))
    return data


def kinds(items) -> int:
    """The mask of [(look, metadata)] of pictures: bit i for KINDS[i]."""
    mask = 0
    for look, others in items:
        for key in (*look, *others):
            found = told({key: others[key]}) if key in WHOLE else [key]
            mask |= sum({1 << KINDS.index(name if name in KINDS and name != "lost" else key) for name in found})
    return mask


def names(mask: int) -> list[str]:
    """What `info` says of the bits of `kinds`."""
    return [kind for i, kind in enumerate(KINDS) if mask >> i & 1]


def _pieces(metadata):
    return len(metadata.get("text", ())) + len(metadata.get("png", ())) + tags.count(metadata.get("tiff", ()))


def pack(stills) -> bytes:
    """Look and metadata of pictures -> bytes; none at all -> b"".  Errors: UnsupportedImage where they are too large."""
    parts = []
    for still in stills:
        items = {**still.look, **still.metadata}
        part = number(len(items))
        for key, value in items.items():
            data = _value(key, value)
            part += bytes([TAGS.index(key)]) + number(len(data)) + data
        if len(part) > LIMIT:
            raise UnsupportedImage(f"more than {LIMIT // 2**20} MiB of metadata; --strip leaves it out")
        parts.append(part)
    if not any(still.look or still.metadata for still in stills):
        return b""
    data = b"".join(parts)
    if len(data) > TOGETHER or sum(_pieces(still.metadata) for still in stills) > TEXTS:
        raise UnsupportedImage(f"more than {TOGETHER // 2**20} MiB of metadata or {TEXTS} texts, chunks and tags in all; --strip leaves them out")
    return min([b"\0" + data, b"\1" + zlib.compress(data, 9), b"\2" + lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS)], key=len)


def unpack(data: bytes, count: int) -> list[tuple[dict, dict]]:
    """The mirror of pack: [(look, metadata)] of `count` pictures.  Errors: DamagedFile."""
    if not data:
        return [({}, {}) for _ in range(count)]
    if data[0] > 2:
        raise DamagedFile("the metadata are packed in an unknown way")
    unpacked = data[1:] if data[0] == 0 else inflate(data[1:], min(count * LIMIT, TOGETHER), data[0] == 2)
    reader, found, texts = Reader(unpacked), [], TEXTS
    try:
        for _ in range(count):
            items = {}
            for _ in range(reader.number(len(TAGS))):
                key = TAGS[reader.take(1)[0]]
                items[key] = _read_value(key, reader.take(reader.number(len(unpacked))), texts)
            texts -= _pieces(items)
            found.append(({k: v for k, v in items.items() if k in LOOK}, {k: v for k, v in items.items() if k not in LOOK}))
    except (IndexError, struct.error, UnicodeDecodeError):
        raise DamagedFile("the metadata do not unpack") from None
    if reader.position != len(unpacked):
        raise DamagedFile("bytes left over after the metadata")
    return found
