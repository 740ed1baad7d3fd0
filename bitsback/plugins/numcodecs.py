"""A numcodecs codec, id "bitsback": arrays of uint8 images in Zarr (format 2) and whatever else takes numcodecs' codecs.

    zarr.create_array(store, shape=(100, 512, 768, 3), chunks=(1, 512, 768, 3), dtype="u1", zarr_format=2, compressors=Bitsback())

A chunk is one image, (H, W), (H, W, 3) or (H, W, 4), or several that share one stack, (N, H, W, 3 or 4); the fourth channel
is alpha.  A model that was not trained on gray leaves gray to the fallback codec.  The same
bytes come back in C order; numcodecs finds the class by the entry point of the package's extra [numcodecs].
"""

import threading

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.checksums import image_check
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.image import ImageData
from bitsback.errors import UnsupportedImage


def _images(pixels):
    """([ImageData], whether they are an archive) of a chunk.  Errors: UnsupportedImage."""
    if pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise UnsupportedImage(
            f"a chunk of uint8 pixels is needed, not {pixels.dtype} of shape {pixels.shape}"
        )
    if pixels.ndim in (3, 4) and pixels.shape[-1] in (3, 4):
        mode = "RGB" if pixels.shape[-1] == 3 else "RGBA"
        images = pixels if pixels.ndim == 4 else pixels[None]
        images = [ImageData(mode, np.ascontiguousarray(one), source="PNG") for one in images]
        return images, pixels.ndim == 4
    if pixels.ndim == 2:
        return [ImageData("L", np.ascontiguousarray(pixels), source="PNG")], False
    raise UnsupportedImage(
        f"a chunk of shape (H, W), (H, W, 3 or 4) or (N, H, W, 3 or 4) is needed, not "
        f"{pixels.shape}; "
        f"where a buffer has lost its shape, give it: Bitsback(shape=...)"
    )


class Bitsback(Codec):
    """model: a shipped name or a path (default: the shipped default), for encoding; device: torch's; shape: of every chunk, where buffers come without it.

    A chunk is decoded with the model it was made with, this codec's own or a shipped one.
    encode and decode raise UnsupportedImage, DamagedFile, NotOurFile, WrongModel (bitsback.errors).
    """

    codec_id = "bitsback"

    def __init__(self, model=None, device="cpu", shape=None):
        self.model, self.device = None if model is None else str(model), device
        self.shape = None if shape is None else tuple(map(int, shape))
        self._encoder = Encoder(self.model, device)
        self._lock = threading.Lock()  # Zarr calls from several threads; the model is opened once

    def get_config(self):
        """What from_config needs, as JSON holds it."""
        return {
            "id": self.codec_id,
            "model": self.model,
            "device": self.device,
            "shape": None if self.shape is None else list(self.shape),
        }

    def __reduce__(self):
        return type(self).from_config, (
            {key: value for key, value in self.get_config().items() if key != "id"},
        )

    def __repr__(self):
        return f"Bitsback(model={self.model!r}, device={self.device!r}, shape={self.shape!r})"

    def encode(self, buf):
        """A chunk, uint8 -> the bytes of a .bbk file."""
        pixels = np.asarray(buf if hasattr(buf, "dtype") else np.frombuffer(buf, np.uint8))
        if self.shape is not None and pixels.shape != self.shape:
            if pixels.size != np.prod(self.shape):
                raise UnsupportedImage(
                    f"a chunk of {pixels.size} samples is not of the shape {self.shape} in the codec's configuration"
                )
            pixels = pixels.reshape(self.shape)
        images, archive = _images(pixels)
        with self._lock:
            if not archive:
                return self._encoder.encode(images[0])
            entries = tuple(
                Entry(s.width, s.height, str(i), check=image_check(s.samples), mode=s.mode)
                for i, s in enumerate(images)
            )
            return self._encoder.encode_many(images, entries)

    def decode(self, buf, out=None):
        """The mirror of encode: uint8 in the shape that went in, or written into `out`."""
        data = ensure_bytes(buf)
        header = container.read_header(data)
        with self._lock:
            model = self._encoder.open_model() if header.model else None
            header, images = decode_images(data, model=model, device=self.device)
        if header.archive:  # stored in the order of coding, named by their places
            names = [entry.name for entry in header.entries]
            if (
                sorted(names) != sorted(map(str, range(len(names))))
                or len({s.samples.shape for s in images}) > 1
            ):
                raise UnsupportedImage("an archive that is no chunk of an array")
            pixels = np.stack(
                [
                    image.samples
                    for _, image in sorted(zip(map(int, names), images), key=lambda pair: pair[0])
                ]
            )
        else:
            pixels = images[0].samples
        return ndarray_copy(pixels, out)
