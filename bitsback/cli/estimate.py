"""The time and memory that a long compression will take, printed before it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bitsback.cli.messages import print_line
from bitsback.devices import is_gpu

if TYPE_CHECKING:
    from bitsback.codecs.image import ImageData
    from bitsback.coder.model import Model


def estimate_printer(
    name: Path, *, verify: bool, quiet: bool, model: "Model | None", device: str, tuning: int
) -> "Callable[[list[ImageData]], None]":
    """A function of the images that prints the estimate if they are large enough for one."""

    def print_estimate(images: "list[ImageData]") -> None:
        from bitsback.codecs.estimate import (
            CONTEXT,
            LONG,
            RESERVED,
            device_bytes,
            estimate,
            host_bytes,
        )

        if quiet or not model:
            return
        seconds, megapixels = estimate(images, verify, model, device, tuning)
        if megapixels >= LONG:
            gigabytes = host_bytes(model, int(1e6 * megapixels)) / 1e9
            memory = f"{gigabytes:.1f} GB of memory"
            if is_gpu(device):
                there = (CONTEXT + RESERVED * device_bytes(model)) / 1e9
                memory += f", {there:.1f} GB on {device}"
            minutes = max(1, round(seconds / 60))
            print_line(
                f"bitsback: {name}: {megapixels:.1f} megapixels coded with the prior take about "
                f"{minutes} minute{'s' * (minutes > 1)} at the machine's present speed "
                f"and up to {memory}",
                to_stderr=True,
            )

    return print_estimate
