"""What `sample` and `preview` share: an image file as output, and the type of a noise level."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitsback.cli.messages import FAILURES, print_error
from bitsback.cli.options import FiniteRange
from bitsback.errors import UnsupportedImage

if TYPE_CHECKING:
    import numpy as np

STEPS = click.IntRange(1, 10_000)
GRAY_LEVELS = FiniteRange(0, min_open=True)  # of noise


def write_drawing(
    path: Path, source: Path | None, force: bool, make: "Callable[[], np.ndarray]"
) -> None:
    """Writes make(), (H, W, 3) uint8, in the lossless format of the path's suffix.

    source: a file that the output must not replace.  What can be refused is refused before make
    is called.  An error is printed as one line, and the program exits with status 1.
    """
    from bitsback import outputs
    from bitsback.codecs.formats.image_files import image_bytes, image_format
    from bitsback.codecs.image import ImageData

    try:
        if path == outputs.STDIO:
            raise UnsupportedImage(f"{path}: a drawing is written to a file, -o NAME.png")
        file_format = image_format(path, "RGB")
        outputs.refuse(path, [source] if source and source != outputs.STDIO else [], force)
        data, _ = image_bytes(ImageData("RGB", make()), file_format, path)
        outputs.write(data, path, force=force)
    except FAILURES as error:
        print_error(error, source or path)
        sys.exit(1)
