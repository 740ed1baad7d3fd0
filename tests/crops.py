"""Random crops of photographs and the CPU's files of them, for comparison with those of a GPU.

    python -m tests.crops FOLDER

writes the CPU's files, for a machine with a GPU where numba is missing and a CPU takes long:
BITSBACK_CROPS=FOLDER names them there.  Half of the crops are made noisy; their modes are gray, RGB
and RGBA, their sides 1 to 200 pixels.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from bitsback.codecs import encoder, mode_decision
from bitsback.codecs.fallback import codec
from bitsback.codecs.fallback.differences import encode_differences
from bitsback.codecs.image import ImageData
from bitsback.coder.model import Model

COUNT, LARGEST = 100, 200
MODES = ("L", "RGB", "RGBA")
PHOTOGRAPHS = sorted((Path(__file__).parent / "images").glob("kodim*.png"))


def crop(number, largest=LARGEST):
    """ImageData, the same for a number everywhere."""
    rng = np.random.default_rng([number, largest])
    mode = MODES[number % 3]
    whole = Image.open(PHOTOGRAPHS[number % len(PHOTOGRAPHS)])
    height, width = (int(n) for n in rng.integers(1, largest + 1, 2))
    top = int(rng.integers(whole.height - height + 1))
    left = int(rng.integers(whole.width - width + 1))
    part = whole.convert("L" if mode == "L" else "RGB")
    samples = np.array(part.crop((left, top, left + width, top + height)))
    if number // 3 % 2:
        noise = np.rint(rng.normal(0, 12, samples.shape))
        samples = np.clip(samples + noise, 0, 255).astype(np.uint8)
    if mode == "RGBA":
        alpha = rng.integers(0, 256, (height, width, 1), np.uint8)
        samples = np.concatenate([samples, alpha], 2)
    return ImageData(mode, samples)


def encode_differences_only(samples, _=None):
    """In place of encode_fallback and encode_part: no version of libwebp or zlib has part in it."""
    if samples.shape[2:] == (1,):
        samples = samples[..., 0]
    return bytes([codec.DIFFERENCES]) + encode_differences(samples)


@contextmanager
def under_the_prior():
    """Images are coded under the prior where they are large enough, whatever the others cost."""
    with (
        patch.object(codec, "encode_fallback", encode_differences_only),
        patch.object(codec, "encode_part", encode_differences_only),
        patch("bitsback.codecs.fallback.start.encode_part", encode_differences_only),
        patch("bitsback.codecs.flat_map.encode_part", encode_differences_only),
        patch("bitsback.codecs.block_means.encode_part", encode_differences_only),
        patch.object(mode_decision, "fallback_hopeless", lambda *_: True),
    ):
        yield


def cpu_file(number, model):
    """Its bytes: of the folder BITSBACK_CROPS if that is given."""
    folder = os.environ.get("BITSBACK_CROPS")
    if folder:
        return (Path(folder) / f"{number}.bbk").read_bytes()
    with under_the_prior():
        return encoder.encode_image(crop(number), model=model)


def main():
    folder, model = Path(sys.argv[1]), Model.open()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(COUNT):
        (folder / f"{number}.bbk").write_bytes(cpu_file(number, model))


if __name__ == "__main__":
    main()
