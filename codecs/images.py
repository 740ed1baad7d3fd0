"""Picture files to stills and back, by Pillow.  What cannot be given back exactly is refused."""
from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import DamagedFile, InputChanged, UnsupportedImage
from . import deep, metadata, refusals
from .inputs import opened
from .still import MODES, Still, same_samples

IMAGE_SUFFIXES = set(".png .apng .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .pfm .gif .ico .tga .pcx .sgi .rgb .ras .qoi .jp2 .j2k "
                     ".jpg .jpeg .avif".split())              # looked for in folders
LOSSLESS_SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM",
                     ".pbm": "PPM", ".pnm": "PPM", ".pfm": "PPM"}
DEEP = {"RGB;16", "RGBA;16", "LA;16"}
HOLDS = {"PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"} | DEEP, "WEBP": {"RGB", "RGBA"}, "BMP": {"1", "L", "P", "RGB"},
         "PPM": {"1", "L", "RGB", "F"},
         "TIFF": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I", "F", "CMYK", "YCbCr", "LAB"}}     # modes
UNTURN = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
          6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}       # undo what Pillow does to TIFFs


# --- reading ---------------------------------------------------------------------------------


def _look(image):
    """Palette and transparency of a loaded image."""
    look, transparency = {}, image.info.get("transparency")
    if image.mode in ("P", "PA") and image.palette:
        kind = image.im.getpalettemode()
        look["palette"] = bytes(image.im.getpalette("RGB", "RGB")) if kind == "RGB" else bytes(image.im.getpalette("RGBA", "RGB"))
        if kind == "RGBA" and transparency is None:
            look["palette_alpha"] = bytes(image.im.getpalette("RGBA", "A"))
    if transparency is not None and image.mode in ("1", "L", "P", "RGB", "I;16", "I"):
        look["transparency"] = tuple(transparency) if isinstance(transparency, (list, tuple)) else transparency
    return look


def _samples(image):
    dtype, _ = MODES[image.mode]
    return np.ascontiguousarray(np.array(image)).astype(dtype, copy=False)


def _deep_samples(image, stream, name):
    """(H, W, C) uint16 of what Pillow shows in 8 bits."""
    stream.seek(0)
    if image.format == "PNG":
        return deep.read_png(stream.read())
    if image.format == "TIFF" and {str(tile[3][0])[:-1] for tile in image.tile} <= {"RGB;16", "RGBA;16"}:
        return deep.read_tiff(stream.read(), name)
    raise UnsupportedImage(f"{name}: {image.format} of more than 8 bits a sample, which Pillow would read as 8")


def _orientation(image):
    """What a TIFF's Exif or XMP says; Pillow turns the pixels of TIFFs when it loads them, and then says 1."""
    found = image.getexif().get(metadata.ORIENTATION, 1) if image.format == "TIFF" else 1
    return found if found in UNTURN else 1


def _open_still(stream, name, allow_lossy):
    with Image.open(stream) as image:
        refusals.refuse_unsuitable(image, stream, name, allow_lossy)
        if refusals.is_deep(image, stream):
            samples = _deep_samples(image, stream, name)
            mode = deep.MODES[samples.shape[2]]
        elif image.mode in MODES:
            mode, samples = image.mode, None
        else:
            raise UnsupportedImage(f"{name}: mode {image.mode} is not known")
        if image.format == "PNG":
            stream.seek(0)
            deep.refuse_missing_rows(stream.read())
        source, before, orientation = image.format, dict(image.info), _orientation(image)
        image.load()
        turned = image.transpose(UNTURN[orientation]) if orientation != 1 and _orientation(image) == 1 else image
        if samples is None:
            if image.mode != mode:
                raise UnsupportedImage(f"{name}: mode {mode} turned into {image.mode} when it was read")
            samples = _samples(turned)
        else:
            shown = np.array(turned)
            shown = shown[..., [0, 3]] if mode == "LA;16" else shown
            if shown.shape != samples.shape or not np.array_equal(shown, (samples >> 8).astype(np.uint8)):
                raise UnsupportedImage(f"{name}: 16-bit samples that Pillow reads in another way")
        return Still(mode, samples, _look(image), metadata.gather(image, before, orientation), source or "")


def read_still(source, name, *, allow_lossy: bool = False) -> Still:
    """A path or seekable binary stream -> Still.  name: for errors.  Pixels are never rotated or converted.

    allow_lossy: take JPEG and the like too.  Errors: UnsupportedImage, LossySource, OSError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                     # Pillow's remarks about damaged metadata
            if isinstance(source, (str, Path)):
                with opened(source) as (stream, _):
                    return _open_still(stream, name, allow_lossy)
            return _open_still(source, name, allow_lossy)
    except UnidentifiedImageError:
        raise UnsupportedImage(f"{name}: not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise UnsupportedImage(f"{name}: {error}") from None
    except UnsupportedImage as error:
        raise error if str(name) in str(error) else type(error)(f"{name}: {error}") from None
    except DamagedFile as error:
        raise UnsupportedImage(f"{name}: damaged picture ({error})") from None
    except Exception as error:          # Pillow's plugins raise a dozen kinds on altered files
        if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, InputChanged)):
            raise
        raise UnsupportedImage(f"{name}: damaged picture ({error})") from None


# --- writing ---------------------------------------------------------------------------------


def image_format(path: Path) -> str:
    """Pillow's name of the lossless format that a path's suffix asks for.  Errors: UnsupportedImage."""
    suffix = path.suffix.lower()
    if suffix not in LOSSLESS_SUFFIXES:
        raise UnsupportedImage(f"{path}: pixels can be restored to {', '.join(LOSSLESS_SUFFIXES)} only")
    return LOSSLESS_SUFFIXES[suffix]


def default_suffix(mode: str) -> str:
    """.png where it holds the mode, else .tiff."""
    return ".png" if mode in HOLDS["PNG"] else ".tiff"


def refuse_mode(mode: str, file_format: str, name) -> None:
    """Errors: UnsupportedImage where a format cannot hold a mode, with those that can."""
    if mode not in HOLDS[file_format]:
        able = [known for known, modes in HOLDS.items() if mode in modes]
        raise UnsupportedImage(f"{name}: {file_format} cannot hold mode {mode}; {' or '.join(able) or 'no format that is written here'} can")


def to_image(still: Still) -> Image.Image:
    """A Pillow image of the same mode, pixels, palette and transparency; `info` holds icc_profile, exif, xmp and dpi too.

    Errors: UnsupportedImage for the 16-bit modes that Pillow does not have; DamagedFile for a palette that is none.
    """
    if still.mode in DEEP:
        raise UnsupportedImage(f"Pillow has no mode {still.mode}; `samples` holds it")
    if still.mode == "1":
        image = Image.fromarray(still.samples.astype(bool))
    else:
        samples = still.samples.astype(">u2") if still.mode == "I;16B" else still.samples
        image = Image.frombytes(still.mode, (still.width, still.height), np.ascontiguousarray(samples).tobytes())
    palette = still.look.get("palette")
    if palette is not None:
        alpha = still.look.get("palette_alpha")
        if len(palette) % 3 or not 0 < len(palette) <= 768 or alpha is not None and len(alpha) != len(palette) // 3:
            raise DamagedFile("a palette that is none")
        if alpha is None:
            image.putpalette(palette, "RGB")
        else:
            image.putpalette(np.dstack([np.frombuffer(palette, np.uint8).reshape(1, -1, 3), np.frombuffer(alpha, np.uint8)[None]]).tobytes(), "RGBA")
    if "transparency" in still.look:
        if still.mode == "P" and isinstance(still.look["transparency"], tuple):
            raise DamagedFile("a transparency that is none")
        image.info["transparency"] = still.look["transparency"]
    for key, name in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp"), ("dpi", "dpi")):
        if key in still.metadata:
            image.info[name] = still.metadata[key]
    return image


def _write(still, stream, file_format):
    options = metadata.save_options(still.metadata, file_format)
    if still.mode in DEEP:
        if "transparency" in still.look:
            options["transparency"] = still.look["transparency"]
        deep.write_png(still.samples, stream, **options)
        return
    image = to_image(still)
    image.info.pop("icc_profile", None)
    if file_format == "WEBP":
        options |= {"lossless": True, "exact": True}
    image.save(stream, format=file_format, **options)


def _shows_the_same(a: Still, b: Still):
    """Whether samples, palette and transparency are the same; I;16 has several byte orders, a palette more entries than are used."""
    modes = {"I;16B": "I;16"}
    if modes.get(a.mode, a.mode) != modes.get(b.mode, b.mode) or not same_samples(a.samples, b.samples):
        return False
    if "palette" not in a.look:
        return a.look == b.look
    return np.array_equal(*(np.array(to_image(still).convert("RGBA")) for still in (a, b)))


def still_bytes(still: Still, file_format: str, name) -> tuple[bytes, list[str]]:
    """A Still in a lossless format, read again and compared: (bytes, names of the metadata that the format cannot hold).

    name: of the output, for errors.  Errors: UnsupportedImage.
    """
    refuse_mode(still.mode, file_format, name)
    for attempt in (still, still.stripped()):                   # odd metadata may be more than a format's writer can take
        out = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _write(attempt, out, file_format)
            break
        except Exception as error:      # Pillow's writers raise a dozen kinds on odd metadata
            reason = error
    else:
        raise UnsupportedImage(f"{name}: {file_format} cannot hold this picture ({reason})")
    out.seek(0)
    written = read_still(out, name)
    if not _shows_the_same(still, written):
        raise UnsupportedImage(f"{name}: {file_format} does not give this picture back as it is (mode {still.mode})")
    return out.getvalue(), [key for key in still.metadata if key not in written.metadata]
