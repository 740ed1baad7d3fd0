"""Metadata from Pillow's images to ImageData.metadata, and from there to Pillow's writers."""

import io
import math
import struct
from typing import Any, BinaryIO

from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from bitsback.codecs.formats import chunks, losses, tags, tiff_checks
from bitsback.codecs.formats.metadata import DOUBLES, METADATA, ROOM, TEXTS, WHOLE
from bitsback.shared_block import without_warnings

HELD_METADATA = {  # by formats that Pillow writes
    "PNG": set(METADATA),
    "WEBP": {"icc", "exif", "xmp"},
    "TIFF": {"dpi"},  # the others: as_tags
    "BMP": {"dpi"},
}
ORIENTATION, XMP, RESOLUTION, ICC = 0x112, 0x2BC, 0x11A, 0x8773
EXIF_START = b"Exif\0\0"
# description, make, model, orientation, software, date, artist, copyright
TIFF_TAGS = (0x10E, 0x10F, 0x110, ORIENTATION, 0x131, 0x132, 0x13B, 0x8298)
TIFF_FOLDERS = (0x8769, 0x8825)  # Exif, GPS


# --- from Pillow -----------------------------------------------------------------------------


def _tiff_exif(entries, orientation):
    """An Exif block of a TIFF's tags as they are, None if it has no such tags.

    orientation: as a program shows the TIFF; XMP may tell it.
    """
    chosen = {entry[0]: entry for entry in entries if entry[0] in (*TIFF_TAGS, *TIFF_FOLDERS)}
    if orientation != 1:
        chosen.setdefault(ORIENTATION, (ORIENTATION, 3, struct.pack("<H", orientation)))
    return tags.exif_block(chosen[tag] for tag in sorted(chosen)) if chosen else None


def gather(image: Image.Image, before: dict) -> dict:
    """ImageData.metadata of a loaded Pillow image, of a TIFF without its Exif.

    before: its `info` before loading, which changes it.
    """
    info = {**image.info, **before}
    found: dict[str, Any] = {}
    text = getattr(image, "text") if image.format == "PNG" else {}
    found["icc"] = info.get("icc_profile")
    found["exif"] = info.get("exif")
    found["xmp"] = info.get("xmp")
    # Pillow returns 1 dpi for a TIFF without a resolution
    resolved = image.format != "TIFF" or RESOLUTION in getattr(image, "tag_v2")
    found["dpi"] = info.get("dpi") if resolved else None
    for key in ("gamma", "chromaticity", "srgb"):
        found[key] = info.get(key)
    texts = [
        (
            key,
            str(value),
            getattr(value, "lang", None) or "",
            getattr(value, "tkey", None) or "",
            hasattr(value, "lang"),
        )
        for key, value in text.items()
        if key != "XML:com.adobe.xmp"
    ]
    if isinstance(info.get("comment"), bytes):
        texts.append(("Comment", info["comment"].decode("latin-1"), "", "", False))
    for key in DOUBLES:
        found[key] = _doubles(key, found[key])
    if isinstance(found["xmp"], str):
        found["xmp"] = found["xmp"].encode()
    return {
        key: value
        for key, value in {**found, "text": tuple(texts)}.items()
        if value not in (None, b"", ())
    }


def _doubles(key, value):
    """A value of Pillow's as one float or a tuple of them; None if it is invalid."""
    try:
        values = tuple(map(float, value if isinstance(value, (tuple, list)) else (value,)))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if len(values) != DOUBLES[key] or not all(map(math.isfinite, values)):
        return None
    if key == "dpi" and min(values) <= 0:
        return None
    return values[0] if DOUBLES[key] == 1 else values


def read_metadata(
    image: ImageFile.ImageFile, stream: BinaryIO, look: dict, before: dict
) -> tuple[dict, tuple[str, ...]]:
    """(metadata, names of metadata that are not stored) of a loaded Pillow image and its file.

    look: ImageData.look; before: as of `gather`.
    """
    if image.format == "PNG":
        kept, lost = chunks.read_chunks(stream, look, ROOM, TEXTS)
        return {"png": kept} if kept else {}, lost
    if image.format == "TIFF":
        fields, lost = tags.read_tags(stream, ROOM, TEXTS)
        return {"tiff": fields} if fields else {}, lost + tiff_checks.lost_names(stream)
    found = gather(image, before)
    return found, losses.lost_names(image, stream, found)


def views(metadata: dict) -> dict:
    """Metadata with a PNG's chunks and a TIFF's tags replaced by what Pillow reads of them.

    A TIFF's Exif has its tags as they are.
    """
    found = {key: value for key, value in metadata.items() if key not in WHOLE}
    for key, show in (("png", chunks.pillow_with_chunks), ("tiff", tags.pillow_with_tags)):
        if key not in metadata:
            continue
        orientation = 1
        try:
            with without_warnings():  # Pillow warns of damaged metadata
                image = show(metadata[key])
                orientation = image.getexif().get(ORIENTATION, 1)
                found |= gather(image, dict(image.info))
        except Exception:  # Pillow's plugins raise many kinds on unusual chunks
            pass
        if key == "tiff" and (block := _tiff_exif(metadata[key], orientation)):
            found["exif"] = block
    return found


# --- to Pillow -------------------------------------------------------------------------------


def _png_numbers(values):
    """Real numbers as PNG's integers of 1/100000."""
    scaled = (max(0, min(2**31 - 1, int(value * 100000 + 0.5))) for value in values)
    return b"".join(struct.pack(">I", number) for number in scaled)


def _png_info(metadata):
    """Pillow's PngInfo of gamma, chromaticity, sRGB, texts and XMP."""
    info = PngInfo()
    if "gamma" in metadata:
        info.add(b"gAMA", _png_numbers([metadata["gamma"]]))
    if "chromaticity" in metadata:
        info.add(b"cHRM", _png_numbers(metadata["chromaticity"]))
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
    """Keyword arguments for Image.save, to write the metadata that the format holds.

    They are empty for chunks to a PNG and tags to a TIFF, which Pillow does not write; to a TIFF
    Pillow writes the resolution only (as_tags).
    """
    whole = {"PNG": "png", "TIFF": "tiff"}.get(file_format)
    metadata = {} if whole in metadata else views(metadata)
    held = {
        key: value for key, value in metadata.items() if key in HELD_METADATA.get(file_format, ())
    }
    options: dict[str, Any] = {}
    for key, option in (("icc", "icc_profile"), ("exif", "exif"), ("dpi", "dpi")):
        if key in held:
            options[option] = held[key]
    if "dpi" in held:
        options["dpi"] = tuple(held["dpi"])
    if file_format == "PNG":
        options["pnginfo"] = _png_info(held)
    elif "xmp" in held:
        options["xmp"] = held["xmp"]
    return options


def as_tags(metadata: dict, data: bytes) -> list[tags.Tag]:
    """Metadata of another format than TIFF as tags for `data`, a TIFF that Pillow wrote.

    Exif as it is: Pillow would change types, such as those of a maker's note.
    """
    shown = views(metadata)
    block = shown.get("exif", b"").removeprefix(EXIF_START)
    found = {tag[0]: tag for tag in tags.read_tags(io.BytesIO(block), ROOM, TEXTS)[0]}
    found |= {tag[0]: tag for tag in tags.read_tags(io.BytesIO(data), ROOM, TEXTS)[0]}
    for key, tag, kind in (("icc", ICC, 7), ("xmp", XMP, 1)):
        if key in shown:
            found[tag] = (tag, kind, bytes(shown[key]))
    return [found[tag] for tag in sorted(found)]
