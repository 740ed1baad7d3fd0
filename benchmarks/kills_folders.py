"""The folders of benchmarks/kills.py: small images, and what is there of them after a kill."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.fuzz_cases import image_of, smooth_pixels
from bitsback.codecs import decoder
from bitsback.codecs.formats.image_files import image_bytes, read_image
from bitsback.codecs.image import ImageData, same
from bitsback.codecs.io import files
from bitsback.coder.model import Model
from bitsback.errors import BitsbackError

TEMPORARY = ".part"


@dataclass
class State:
    """What is in a folder.  images: {number of an image: in how many files}; outputs: those in the
    form that the command makes; broken: files that are not whole, and are not temporary."""

    images: Counter[int] = field(default_factory=Counter)
    outputs: Counter[int] = field(default_factory=Counter)
    temporary: int = 0
    broken: list[str] = field(default_factory=list)

    def lost(self, count: int) -> list[int]:
        """Numbers of the images that are in no file, of `count`."""
        return [i for i in range(count) if not self.images[i]]

    def complete(self, count: int) -> bool:
        """Whether every image is there once, as the output of the command."""
        once = Counter(range(count))
        return self.images == once and self.outputs == once and not self.broken


def make_images(folder: Path, rng: np.random.Generator, most: int) -> list[ImageData]:
    """Writes small images of several modes, some in a folder below; returns them as read."""
    (folder / "below").mkdir(parents=True)
    drawn = [image_of(mode, 9, 12, rng) for mode in ("RGB", "RGBA", "L", "P", "1", "I;16", "LA")]
    drawn += [ImageData("RGB", smooth_pixels(24, 24, 3, rng)) for _ in range(3)]
    drawn += [ImageData("L", smooth_pixels(40, 33, 1, rng)[..., 0]) for _ in range(2)]
    paths = []
    for i, image in enumerate(drawn[:most]):
        suffix, kind = (".tiff", "TIFF") if i % 4 == 1 else (".png", "PNG")
        path = folder / ("below" if i % 2 else "") / f"{i}{suffix}"
        path.write_bytes(image_bytes(image, kind, path)[0])
        paths.append(path)
    return [read_image(path, path) for path in paths]


def look(folder: Path, images: list[ImageData], packs: bool, model: Model) -> State:
    """The state of a folder; packs: whether .bbk files are the outputs."""
    state = State()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == TEMPORARY and path.name.startswith(".bitsback."):
            state.temporary += 1
            continue
        packed = path.suffix == files.SUFFIX
        try:
            found = (
                decoder.decode_images(path.read_bytes(), model=model)[1]
                if packed
                else [read_image(path, path)]
            )
            # metadata of a TIFF are tags, of a PNG chunks
            bare = [x.stripped() for x in found]
            numbers = [next(i for i, y in enumerate(images) if same(y.stripped(), x)) for x in bare]
        except (BitsbackError, OSError, StopIteration):
            state.broken.append(path.name)
            continue
        state.images.update(numbers)
        state.outputs.update(numbers if packed == packs else ())
    return state
