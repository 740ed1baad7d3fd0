"""The time and memory that a long compression will take, printed before it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bitsback.cli.messages import print_line

if TYPE_CHECKING:
    from bitsback.codecs.image import ImageData
    from bitsback.coder.model import Model


def estimate_printer(
    name: Path, *, verify: bool, quiet: bool, model: "Model | None", device: str, tuning: int
) -> "Callable[[list[ImageData]], None]":
    """A function of the images that prints the estimate if they are large enough for one."""

    def print_estimate(images: "list[ImageData]") -> None:
        from bitsback.codecs.estimate import LONG, estimate

        if quiet or not model:
            return
        seconds, megapixels = estimate(images, verify, model, device, tuning)
        if megapixels >= LONG:
            print_line(
                f"bitsback: {name}: {megapixels:.1f} megapixels coded with the prior take about "
                f"{max(1, seconds / 60):.0f} minutes at the machine's present speed "
                f"and up to {peak_gigabytes(megapixels):.1f} GB of memory",
                to_stderr=True,
            )

    return print_estimate


def peak_gigabytes(megapixels: float) -> float:
    """Peak memory in GB (benchmarks/results/memory.md).

    The sum of the program, the largest segment (at most a megapixel) and the image.
    """
    return 0.3 + 0.9 * min(megapixels / 8, 1) + 0.014 * megapixels
