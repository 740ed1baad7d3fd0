"""A numcodecs codec, id "bitsback": arrays of 8- or 16-bit images in Zarr (format 2) and the like.

    zarr.create_array(store, shape=(100, 512, 768, 3), chunks=(1, 512, 768, 3), dtype="u1",
                      zarr_format=2, compressors=Bitsback())

A chunk is one image, (H, W), (H, W, 3) or (H, W, 4), or several images on one stack,
(N, H, W, 3 or 4); a fourth channel is alpha.  Its samples are restored exactly, in C order: chunks
in Fortran order, which Zarr would misread, are refused (order="C" is Zarr's default).  A model that
was not trained on gray leaves gray to the fallback codec.  The class is registered with numcodecs
by an entry point of the package.
"""

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy

from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage
from bitsback.plugins.array_chunks import ChunkCoder, image_of

# No other byte order: Zarr takes the bytes that decode returns for those of the array's type.
TYPES = "|u1", "<u2"


def _images(pixels: np.ndarray) -> tuple[list[ImageData], bool]:
    """(images, whether they are an archive) of a chunk.  Errors: UnsupportedImage."""
    if pixels.dtype.str not in TYPES or 0 in pixels.shape:
        raise UnsupportedImage(
            f"a chunk of uint8 or little-endian uint16 is needed, not {pixels.dtype} of shape "
            f"{pixels.shape}"
        )
    if pixels.ndim in (3, 4) and pixels.shape[-1] in (3, 4):
        arrays = pixels if pixels.ndim == 4 else pixels[None]
        return [image_of(one) for one in arrays], pixels.ndim == 4
    if pixels.ndim == 2:
        return [image_of(pixels)], False
    raise UnsupportedImage(
        f"a chunk of shape (H, W), (H, W, 3 or 4) or (N, H, W, 3 or 4) is needed, not "
        f"{pixels.shape}; "
        f"for buffers without a shape: Bitsback(shape=...)"
    )


def _sides(shape: tuple[int, ...]) -> list[int]:
    """A shape without its ones, which say nothing of where samples lie."""
    return [side for side in shape if side != 1]


class Bitsback(Codec):
    """Codec of chunks of images.

    model: a shipped name or a path, for encoding (default: the shipped default); device: torch's;
    shape: of every chunk, if buffers come without one.  A chunk is decoded with the model it was
    encoded with: this codec's, or one shipped or added.  encode and decode raise UnsupportedImage,
    DamagedFile, NotOurFile and WrongModel (bitsback.errors).
    """

    codec_id = "bitsback"

    def __init__(
        self,
        model: Any = None,
        device: str = "cpu",
        shape: tuple[int, ...] | list[int] | None = None,
    ) -> None:
        self.model = None if model is None else str(model)
        self.device = device
        self.shape = None if shape is None else tuple(map(int, shape))
        self._coder = ChunkCoder(self.model, device)

    def get_config(self) -> dict[str, Any]:
        """What a store keeps, as JSON values: not the device, which is that of who reads."""
        return {
            "id": self.codec_id,
            "model": self.model,
            "shape": None if self.shape is None else list(self.shape),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Bitsback":
        """The mirror of get_config.  A device, which stores of releases before 1.2.1 kept, is left
        out."""
        return cls(config.get("model"), shape=config.get("shape"))

    def __reduce__(self) -> tuple:
        return type(self), (self.model, self.device, self.shape)

    def __repr__(self) -> str:
        return f"Bitsback(model={self.model!r}, device={self.device!r}, shape={self.shape!r})"

    def encode(self, buf: Any) -> bytes:
        """A chunk of uint8 or uint16, array or buffer (of bytes) -> the bytes of a .bbk file."""
        if isinstance(buf, np.ma.MaskedArray):
            raise UnsupportedImage("a masked array, whose mask would be lost")
        shaped = hasattr(buf, "dtype") or memoryview(buf).ndim > 1
        pixels = np.asarray(buf if shaped else np.frombuffer(buf, np.uint8))
        if pixels.flags.f_contiguous and not pixels.flags.c_contiguous:
            # Zarr takes what decode returns for memory in the array's order, which no chunk tells
            raise UnsupportedImage("a chunk in Fortran order; make the array with order='C'")
        if self.shape is not None and pixels.shape != self.shape:
            if pixels.size != np.prod(self.shape):
                raise UnsupportedImage(
                    f"a chunk of {pixels.size} samples does not have the shape {self.shape} of the "
                    "codec's configuration"
                )
            pixels = pixels.reshape(self.shape)
        return self._coder.encode(*_images(pixels))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The mirror of encode: the array that was encoded, copied into `out` if given."""
        samples, archive = self._coder.decode(ensure_bytes(buf))
        pixels = np.stack(samples) if archive else samples[0]
        wanted = self.shape or (out.shape if isinstance(out, np.ndarray) else ())
        if len(wanted) > 1 and _sides(pixels.shape) != _sides(wanted):
            raise UnsupportedImage(f"a chunk of {pixels.shape}, not of {wanted}")
        if isinstance(out, np.ndarray) and out.size == pixels.size and out.dtype == pixels.dtype:
            np.copyto(out, pixels.reshape(out.shape))  # whatever the order of `out`
            return out
        if isinstance(out, np.ndarray) and not out.flags.c_contiguous:
            raise UnsupportedImage(
                f"a chunk of {pixels.dtype}, {pixels.shape}, does not fit {out.dtype}, {out.shape}"
            )
        return ndarray_copy(pixels, out)
