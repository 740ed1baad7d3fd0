"""A codec of Zarr 3 (zarr>=3), "bitsback": arrays of uint8 images and volumes of images.

    zarr.create_array(store, shape=(100, 512, 768, 3), chunks=(4, 512, 768, 3), dtype="u1",
                      serializer=BitsbackCodec(), compressors=None, filters=None)

It is an array -> bytes codec.  A chunk (..., H, W, 3 or 4) is colour images, the fourth channel
alpha; (..., H, W) and (..., H, W, 1) are gray ones.  The images of a chunk lie on one stack.  zarr
finds the class by an entry point of the package.  The codec for Zarr 2 is plugins/numcodecs.py.
"""

import asyncio
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

from bitsback.errors import UnsupportedImage
from bitsback.plugins.array_chunks import MODES, ChunkCoder, image_of

CODEC_NAME = "bitsback"


@functools.lru_cache(maxsize=8)
def _coder(model: str | None, device: str) -> ChunkCoder:
    """Kept, with its model, for all arrays of a process."""
    return ChunkCoder(model, device)


def images_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, H, W, C) of a chunk's shape.  Errors: UnsupportedImage."""
    if len(shape) < 2 or 0 in shape:
        raise UnsupportedImage(
            f"chunks of shape {shape}; bitsback codes (..., H, W) and (..., H, W, 1, 3 or 4)"
        )
    coloured = len(shape) > 2 and shape[-1] in MODES
    *leading, height, width = shape[:-1] if coloured else shape
    return math.prod(leading), height, width, shape[-1] if coloured else 1


def refuse_dtype(dtype: Any) -> None:
    """Errors: UnsupportedImage for all types but uint8, with the reason."""
    found = np.dtype(dtype)
    if found != np.uint8:
        raise UnsupportedImage(
            f"an array of {found}; bitsback codes images of 8 bits: other samples would have to be "
            "rounded, and it is lossless (use another codec, or scale to uint8 yourself)"
        )


@dataclass(frozen=True)
class BitsbackCodec(ArrayBytesCodec):
    """Codec of chunks of images.

    model: a shipped name or a path, for encoding (default: the shipped default); it is stored with
    the array, device, torch's, is not.  A chunk is decoded with the model it was encoded with:
    this codec's, or one shipped or added.  Errors: UnsupportedImage, DamagedFile, NotOurFile,
    WrongModel.
    """

    is_fixed_size = False
    model: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.model is not None:
            object.__setattr__(self, "model", str(self.model))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "BitsbackCodec":
        """From zarr.json's {"name": "bitsback", "configuration": {"model": ...}}."""
        return cls(**(data.get("configuration") or {}))

    def to_dict(self) -> dict[str, Any]:
        """The mirror of from_dict."""
        known = {"model": self.model} if self.model else {}
        return {"name": CODEC_NAME, "configuration": known}

    def validate(self, *, shape: Any, dtype: Any, chunk_grid: Any) -> None:
        """Refuses an array when it is created.  Errors: UnsupportedImage."""
        refuse_dtype(dtype.to_native_dtype())
        images_shape(tuple(getattr(chunk_grid, "chunk_shape", shape)))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Not known beforehand."""
        raise NotImplementedError

    def _encode_sync(self, chunk_data: Any, chunk_spec: Any) -> Any:
        """A chunk as zarr's NDBuffer -> a .bbk file as its Buffer."""
        pixels = chunk_data.as_numpy_array()
        refuse_dtype(pixels.dtype)
        count, *size = images_shape(pixels.shape)
        images = [image_of(one) for one in pixels.reshape(count, *size)]
        data = _coder(self.model, self.device).encode(images, count > 1)
        return chunk_spec.prototype.buffer.from_bytes(data)

    def _decode_sync(self, chunk_data: Any, chunk_spec: Any) -> Any:
        """The mirror of _encode_sync."""
        samples, _ = _coder(self.model, self.device).decode(chunk_data.to_bytes())
        pixels = np.stack(samples)
        pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        if pixels.shape != images_shape(chunk_spec.shape) or pixels.dtype != np.uint8:
            raise UnsupportedImage(f"a chunk of {pixels.shape}, not of {chunk_spec.shape}")
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(pixels.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)
