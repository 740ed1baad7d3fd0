"""Images of every mode for tests, and files whose images are under the prior."""

import numpy as np

from bitsback.codecs import (
    Encoder,
    checksums,
    mode_decision,
    prior_codec,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.image import MODES, ImageData, shape_of

EXTRAS = {
    "icc": b"profile" * 40,
    "exif": b"Exif\0\0MM",
    "dpi": (72.0, 72.0),
    "text": (("Title", "\u00e4", "", "", False),),
}


def of_mode(mode, height, width, photograph):
    """An image of any mode with some contents and metadata."""
    dtype, channels = MODES[mode]
    colours = np.dstack([photograph(height, width, 3), photograph(height, width, 4)])[
        ..., :channels
    ]
    samples = colours.astype(np.uint16) * 257 if dtype == "<u2" else colours
    samples = np.ascontiguousarray(samples.astype(dtype)).reshape(shape_of(mode, height, width))
    look = (
        {"palette": bytes(range(256)) * 3}
        if mode in ("P", "PA")
        else {"transparency": (1, 2, 3)}
        if mode == "RGB"
        else {}
    )
    return ImageData(mode, samples & 1 if mode == "1" else samples, look, EXTRAS)


def forced(images, model, monkeypatch, archive=False):
    """A file whose colours are under the prior, though with random weights it loses."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    monkeypatch.setattr(prior_codec, "SMALLEST", 1)
    entries = tuple(
        container.Entry(
            s.width,
            s.height,
            f"{i}.png" * archive,
            check=checksums.image_check(s.samples) * archive,
            mode=s.mode,
            source=s.source,
        )
        for i, s in enumerate(images)
    )
    encoder = Encoder(model)
    data = encoder.encode_many(images, entries) if archive else encoder.encode(images[0])
    assert container.read_header(data).model
    return data
