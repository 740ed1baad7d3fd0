"""Chunks of arrays as .bbk files: what the codecs for Zarr 2 and 3 share.

A chunk of several images is an archive of one group; its images are named by their index in it.
"""

import numpy as np

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.decoder import decode_images
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model
from bitsback.errors import UnsupportedImage, WrongModel
from bitsback.locks import ForkLock

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels
DEEP_MODES = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}


def image_of(samples: np.ndarray) -> ImageData:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or <u2 -> an image."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    pixels = samples[..., 0] if samples.ndim == 3 and channels == 1 else samples
    modes = MODES if samples.dtype == np.uint8 else DEEP_MODES
    return ImageData(modes[channels], np.ascontiguousarray(pixels), source="PNG")


class ChunkCoder:
    """Codes chunks with one model, opened once, one chunk at a time.

    model: a shipped name or a path, for encoding (default: the shipped default); device: torch's.
    A chunk is decoded with the model it was encoded with: this one, or one shipped or added.
    """

    def __init__(self, model: str | None = None, device: str = "cpu") -> None:
        self.model, self.device = model, device
        self._made: Encoder | None = None
        self._lock = ForkLock()  # Zarr calls from several threads

    @property
    def _encoder(self):
        """Made when it is needed: chunks are decoded where `model` is not here, too.

        Errors: WrongModel, BitsbackError.
        """
        if self._made is None:
            self._made = Encoder(self.model, self.device)
        return self._made

    def encode(self, images: list[ImageData], archive: bool) -> bytes:
        """One image, or several (archive).  Errors: UnsupportedImage, WrongModel."""
        with self._lock:
            if not archive:
                return self._encoder.encode(images[0])
            entries = tuple(
                Entry(s.width, s.height, str(i), mode=s.mode) for i, s in enumerate(images)
            )
            return self._encoder.encode_many(images, entries)

    def _model_of(self, model_id):
        """The model of a chunk.  Its store may come from where the codec's own has another path."""
        try:
            return Model.of_file(self._encoder.open_model(), model_id)
        except WrongModel:
            return Model.of_file(None, model_id)

    def decode(self, data: bytes) -> tuple[list[np.ndarray], bool]:
        """The mirror of encode: samples in the chunk's order.

        Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for another archive.
        """
        header = container.read_header(data)
        with self._lock:
            model = self._model_of(header.model) if header.model else None
            header, images = decode_images(data, model=model, device=self.device)
        if not header.archive:
            return [images[0].samples], False
        # Stored in the order of coding.
        samples = {entry.name: image.samples for entry, image in zip(header.entries, images)}
        indices = list(map(str, range(len(images))))
        if sorted(samples) != sorted(indices) or len({s.shape for s in samples.values()}) > 1:
            raise UnsupportedImage("an archive that is not a chunk of an array")
        return [samples[index] for index in indices], True
