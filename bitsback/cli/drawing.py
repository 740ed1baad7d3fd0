"""What `sample` and `preview` share: an image file as output, and the type of a noise level."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bitsback.cli.messages import print_error
from bitsback.errors import BitsbackError

if TYPE_CHECKING:
    import numpy as np

STEPS = click.IntRange(1, 10_000)


class GrayLevels(click.FloatRange):
    """A noise level in gray levels: positive and finite."""

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


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
        file_format = image_format(path)
        outputs.refuse(path, [source] if source and source != outputs.STDIO else [], force)
        data, _ = image_bytes(ImageData("RGB", make()), file_format, path)
        outputs.write(data, path, force=force)
    except (BitsbackError, OSError) as error:
        print_error(error, source or path)
        sys.exit(1)
