"""A numcodecs codec, id "bitsback": arrays of uint8 images in Zarr (format 2) and the like.

    zarr.create_array(store, shape=(100, 512, 768, 3), chunks=(1, 512, 768, 3), dtype="u1",
                      zarr_format=2, compressors=Bitsback())

A chunk is one image, (H, W), (H, W, 3) or (H, W, 4), or several images on one stack,
(N, H, W, 3 or 4); a fourth channel is alpha.  Its samples are restored exactly, in C order.  A
model that was not trained on gray leaves gray to the fallback codec.  The class is registered with
numcodecs by an entry point of the package.
"""

import threading
from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage


def _images(pixels: np.ndarray) -> tuple[list[ImageData], bool]:
    """(images, whether they are an archive) of a chunk.  Errors: UnsupportedImage."""
    if pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise UnsupportedImage(
            f"a chunk of uint8 pixels is needed, not {pixels.dtype} of shape {pixels.shape}"
        )
    if pixels.ndim in (3, 4) and pixels.shape[-1] in (3, 4):
        mode = "RGB" if pixels.shape[-1] == 3 else "RGBA"
        arrays = pixels if pixels.ndim == 4 else pixels[None]
        images = [ImageData(mode, np.ascontiguousarray(one), source="PNG") for one in arrays]
        return images, pixels.ndim == 4
    if pixels.ndim == 2:
        return [ImageData("L", np.ascontiguousarray(pixels), source="PNG")], False
    raise UnsupportedImage(
        f"a chunk of shape (H, W), (H, W, 3 or 4) or (N, H, W, 3 or 4) is needed, not "
        f"{pixels.shape}; "
        f"for buffers without a shape: Bitsback(shape=...)"
    )


class Bitsback(Codec):
    """Codec of chunks of images.

    model: a shipped name or a path, for encoding (default: the shipped default); device: torch's;
    shape: of every chunk, if buffers come without one.  A chunk is decoded with the model it was
    encoded with: this codec's or a shipped one.  encode and decode raise UnsupportedImage,
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
        self._encoder = Encoder(self.model, device)
        self._lock = threading.Lock()  # Zarr calls from several threads; the model is opened once

    def get_config(self) -> dict[str, Any]:
        """The arguments of from_config, as JSON values."""
        return {
            "id": self.codec_id,
            "model": self.model,
            "device": self.device,
            "shape": None if self.shape is None else list(self.shape),
        }

    def __reduce__(self) -> tuple:
        config = {key: value for key, value in self.get_config().items() if key != "id"}
        return type(self).from_config, (config,)

    def __repr__(self) -> str:
        return f"Bitsback(model={self.model!r}, device={self.device!r}, shape={self.shape!r})"

    def encode(self, buf: Any) -> bytes:
        """A chunk of uint8, array or buffer -> the bytes of a .bbk file."""
        pixels = np.asarray(buf if hasattr(buf, "dtype") else np.frombuffer(buf, np.uint8))
        if self.shape is not None and pixels.shape != self.shape:
            if pixels.size != np.prod(self.shape):
                raise UnsupportedImage(
                    f"a chunk of {pixels.size} samples does not have the shape {self.shape} of the "
                    "codec's configuration"
                )
            pixels = pixels.reshape(self.shape)
        images, archive = _images(pixels)
        with self._lock:
            if not archive:
                return self._encoder.encode(images[0])
            entries = tuple(
                Entry(s.width, s.height, str(i), mode=s.mode) for i, s in enumerate(images)
            )  # the name of an image is its index in the chunk
            return self._encoder.encode_many(images, entries)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The mirror of encode: the uint8 array that was encoded, copied into `out` if given."""
        data = ensure_bytes(buf)
        header = container.read_header(data)
        with self._lock:
            model = self._encoder.open_model() if header.model else None
            header, images = decode_images(data, model=model, device=self.device)
        if not header.archive:
            return ndarray_copy(images[0].samples, out)
        # Stored in the order of coding; the names are the indices in the chunk.
        samples = {entry.name: image.samples for entry, image in zip(header.entries, images)}
        indices = list(map(str, range(len(images))))
        if sorted(samples) != sorted(indices) or len({s.shape for s in samples.values()}) > 1:
            raise UnsupportedImage("an archive that is not a chunk of an array")
        return ndarray_copy(np.stack([samples[index] for index in indices]), out)
