"""Sets of images that `evaluate` reads: folders, files and arrays."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from bitsback.codecs.image import ImageData


def read_images(source: Path, limit: int | None, allow_lossy: bool) -> "list[ImageData]":
    """RGB and gray images of a folder, a file or a .npy array.  Errors: UnsupportedImage, OSError.

    An array is (N, H, W, 3), (N, H, W, 1), (H, W, 3) or (N, H, W) of gray ones, uint8.
    """
    import numpy as np

    from bitsback.codecs.formats.image_files import read_image
    from bitsback.codecs.image import ImageData
    from bitsback.codecs.io.collected import collect
    from bitsback.errors import UnsupportedImage
    from bitsback.inputs import opened

    if source.suffix.lower() == ".npy":
        try:
            array = np.load(source, mmap_mode="r", allow_pickle=False)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # numpy reports damaged headers in a dozen ways
            raise UnsupportedImage(f"{source}: no array ({error})") from None
        if not isinstance(array, np.ndarray):
            raise UnsupportedImage(f"{source}: several arrays; evaluate takes one (.npy)")
        if array.ndim == 3:
            array = array[None] if array.shape[2] == 3 else array[..., None]
        if array.ndim != 4 or array.shape[3] not in (1, 3) or array.dtype != np.uint8:
            raise UnsupportedImage(
                f"{source}: an array of {array.dtype}, {array.shape}; evaluate takes uint8, "
                "(N, H, W, 3) or gray (N, H, W)"
            )
        if 0 in array.shape:
            raise UnsupportedImage(f"{source}: no images")
        modes = {1: "L", 3: "RGB"}
        return [
            ImageData(modes[one.shape[2]], np.array(one if one.shape[2] == 3 else one[..., 0]))
            for one in array[:limit]
        ]
    found = []
    for path, _ in collect([source], archived=False)[:limit]:
        with opened(path) as (stream, _status):
            image = read_image(stream, path, allow_lossy=allow_lossy).stripped()
        if image.mode not in ("RGB", "L"):
            raise UnsupportedImage(f"{path}: mode {image.mode}; evaluate takes RGB and gray (L)")
        found.append(image)
    return found


def as_array(image: "ImageData") -> "np.ndarray":
    """(H, W, 3 or 1) uint8 of an RGB or gray image; three channels even where they are equal."""
    return image.samples.reshape(image.height, image.width, -1)
