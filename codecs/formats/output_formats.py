"""The lossless formats that images are restored to, and the modes that each of them can hold."""

from pathlib import Path

from bitsback.errors import UnsupportedImage

LOSSLESS_SUFFIXES = {
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".pfm": "PPM",
}
NOT_PILLOWS = {"RGB;16", "RGBA;16", "LA;16"}  # modes that Pillow does not have
HOLDS = {  # format: modes
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"} | NOT_PILLOWS,
    "WEBP": {"RGB", "RGBA"},
    "BMP": {"1", "L", "P", "RGB"},
    "PPM": {"1", "L", "RGB", "F"},
    "TIFF": {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La"}
    | {"I;16", "I;16B", "I", "F", "CMYK", "YCbCr", "LAB"},
}


NAMED = {  # modes of suffixes that are narrower than their format: netpbm's
    ".ppm": {"RGB"},
    ".pgm": {"L"},
    ".pbm": {"1"},
    ".pfm": {"F"},
    ".pnm": {"1", "L", "RGB"},
}


def image_format(path: Path, mode: str) -> str:
    """Pillow's name of the lossless format for a path's suffix, as which a user wants an image.

    Errors: UnsupportedImage, also for a suffix that means an image of another mode.
    """
    suffix = path.suffix.lower()
    if suffix not in LOSSLESS_SUFFIXES:
        raise UnsupportedImage(
            f"{path}: images can be restored to {', '.join(LOSSLESS_SUFFIXES)} only"
        )
    file_format = LOSSLESS_SUFFIXES[suffix]
    if mode in HOLDS[file_format] - NAMED.get(suffix, HOLDS[file_format]):
        able = [
            known
            for known, one in LOSSLESS_SUFFIXES.items()
            if mode in HOLDS[one] & NAMED.get(known, HOLDS[one])
        ]
        raise UnsupportedImage(f"{path}: {suffix} is not of mode {mode}; {', '.join(able)} can be")
    return file_format


def default_suffix(mode: str) -> str:
    """The suffix of the default output: .png if PNG can hold the mode, else .tiff."""
    return ".png" if mode in HOLDS["PNG"] else ".tiff"


def refuse_mode(mode: str, file_format: str, name: str | Path) -> None:
    """Errors: UnsupportedImage if the format cannot hold the mode; it names formats that can."""
    if mode not in HOLDS[file_format]:
        able = " or ".join(known for known, modes in HOLDS.items() if mode in modes)
        raise UnsupportedImage(
            f"{name}: {file_format} cannot hold mode {mode}; {able or 'no output format'} can"
        )
