"""Metadata between Pillow and an ImageData: what is read of an image file, what is handed to Pillow's writers."""

import math
import struct
import warnings

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bitsback.codecs.formats import chunks, losses, tags
from bitsback.codecs.formats.metadata import DOUBLES, METADATA, ROOM, TEXTS, WHOLE

HOLDS = {
    "PNG": set(METADATA),
    "WEBP": {"icc", "exif", "xmp"},
    "TIFF": {"icc", "exif", "xmp", "dpi"},
    "BMP": {"dpi"},
}
ORIENTATION, XMP, RESOLUTION = 0x112, 0x2BC, 0x11A
TIFF_TAGS = (
    0x10E,
    0x10F,
    0x110,
    ORIENTATION,
    0x131,
    0x132,
    0x13B,
    0x8298,
)  # description, camera, orientation, software, date, artist, copyright
TIFF_FOLDERS = (0x8769, 0x8825)  # Exif, GPS


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
    found["dpi"] = (
        None if image.format == "TIFF" and RESOLUTION not in image.tag_v2 else info.get("dpi")
    )  # Pillow says 1 where there is none
    for key in ("gamma", "chromaticity"):
        found[key] = info.get(key)
    found["srgb"] = info.get("srgb")
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
        try:
            values = tuple(
                map(float, found[key] if isinstance(found[key], (tuple, list)) else (found[key],))
            )
        except (TypeError, ValueError, ZeroDivisionError):
            values = ()
        good = (
            len(values) == DOUBLES[key]
            and all(map(math.isfinite, values))
            and (key != "dpi" or min(values) > 0)
        )
        found[key] = (values[0] if DOUBLES[key] == 1 else values) if good else None
    if isinstance(found["xmp"], str):
        found["xmp"] = found["xmp"].encode()
    return {
        key: value
        for key, value in {**found, "text": tuple(texts)}.items()
        if value not in (None, b"", ())
    }


def carried(
    image: Image.Image, stream, look: dict, before: dict, orientation: int = 1
) -> tuple[dict, tuple]:
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
                    warnings.simplefilter("ignore")  # Pillow's remarks about damaged metadata
                    image = show(metadata[key])
                    found |= gather(
                        image,
                        dict(image.info),
                        image.getexif().get(ORIENTATION, 1) if key == "tiff" else 1,
                    )
            except Exception:  # Pillow's plugins raise a dozen kinds on odd chunks
                continue
    return found


# --- dicts -> Pillow -------------------------------------------------------------------------


def _png_info(metadata):
    info, packed = (
        PngInfo(),
        lambda values: b"".join(
            struct.pack(">I", max(0, min(2**31 - 1, int(v * 100000 + 0.5)))) for v in values
        ),
    )
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
    metadata = (
        {} if {"PNG": "png", "TIFF": "tiff"}.get(file_format) in metadata else views(metadata)
    )
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
