"""A preview of a compressed image: the segment that decodes first, finished by a few steps of DDIM.

The first pops from the stack are the segment that was coded last, level by level from the noisiest.
Its levels are decoded down to a noise that the prior removes well.  The segments coded before it,
and the start at the bottom of the stack, cannot be read before everything above them.  In their
place the preview shows the side information: flat map and, blurred, block means; without block
means it shows gray.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitsback.ans.gaussian_tables import FRACTIONS
from bitsback.codecs import block_means, decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import read_single
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import blocks, context_around, lane_counts
from bitsback.coder.context import free_values
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile, StackEmpty, UnsupportedImage
from bitsback.sampling.chain_sampler import nearest_level
from bitsback.sampling.denoisers import model_denoiser, sampling_levels
from bitsback.sampling.samplers import ddim

MIDDLE_GRAY = 128  # of pixels that a file has no information about so far
PALE = 144  # alpha of pixels that are not decoded


@dataclass(frozen=True)
class Preview:
    """pixels: (H, W, 3) uint8; known: (H, W) bool, decoded or side information in all channels.

    The other pixels are blurred or MIDDLE_GRAY (`fill`).  sigma: noise at which decoding stopped,
    gray levels, 0 for a file under the fallback codec; share: network evaluations, times pixels, as
    a share of a full decode's, where members of an ensemble count as one.
    """

    pixels: np.ndarray
    known: np.ndarray
    sigma: float
    share: float


def finish(model: Model, y: np.ndarray, k: int, steps: int, device: str = "cpu") -> Tensor:
    """y_k (B, 3 or 1, H, W), lattice indices -> pixels - 128, float32, by `steps` of DDIM."""
    levels = sampling_levels(model.levels, steps, sigmas(model.levels)[k])
    start = torch.from_numpy(y).float() * model.levels[k].spacing
    return ddim(model_denoiser(model, levels, device), start, levels)


def fill(pixels: np.ndarray, free: np.ndarray, top: Top, spacing: float) -> None:
    """Fills samples that are not known, in place.

    pixels: (H, W, 3 or 1) uint8; free: like it, bool, the samples to fill; top: the file's;
    spacing: of the noisiest level, gray levels.  Block means are interpolated linearly at full
    precision: mean32, in 1/32 of the spacing, would show bands.  Without block means all of a pixel
    with a free sample is MIDDLE_GRAY: one flat channel beside two gray ones is a false colour.
    """
    (height, width, channels), side = pixels.shape, block_means.SIDE
    if not isinstance(top, block_means.LocalTop):
        pixels[free.any(2)] = MIDDLE_GRAY
        return
    start = 128 + np.array(top.mean32 if channels == 3 else top.mean32[1:2]) * spacing / FRACTIONS
    for row in range(0, height, side):  # a row of blocks at a time: little memory
        rows = slice(row, min(row + side, height))
        lines = (
            block_means.interpolated(
                top.grids[0] - block_means.ZERO, (rows.start, rows.stop), (0, width)
            )
            * block_means.STEP
            / 4096
        )
        np.copyto(
            pixels[rows],
            np.clip(np.rint(start + lines), 0, 255),
            casting="unsafe",
            where=free[rows],
        )


def preview(
    data: bytes,
    *,
    model: Model | str | Path | None = None,
    sigma: float = 9.0,
    steps: int = 2,
    segments: int = 1,
    device: str = "cpu",
) -> Preview:
    """The bytes of a .bbk file -> Preview.

    sigma: decoding stops at the model's level nearest to it; steps: of DDIM from there; segments:
    how many to show, all but the last of them decoded fully, as they must be before the next;
    model: as in decode.  An image under the fallback codec is decoded.
    Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an archive; ValueError for a
    number that is not positive; TypeError for data that have no bytes.
    """
    if not 0 < sigma < math.inf or min(steps, segments) < 1:
        raise ValueError(f"sigma {sigma}, steps {steps} and segments {segments}: not all positive")
    header, payload = read_single(decoder.bytes_of(data), "a preview shows one image")
    known = np.zeros((header.height, header.width), bool)
    if not header.model:
        image = decoder.decode_image(data)
        if image.colour is None:
            raise UnsupportedImage(
                f"an image of mode {image.mode} has no preview: decompress it, which is quick"
            )
        return Preview(np.broadcast_to(image.colour, (*known.shape, 3)), ~known, 0.0, 1.0)
    chosen = Model.of_file(model, header.model)
    pixels = np.full((header.height, header.width, header.sizes[0][2]), MIDDLE_GRAY, np.uint8)
    images, shown = [turned(pixels, header.flips)], [turned(known, header.flips)]
    places = locate([images[0].shape], header.start, header.segments)[::-1]
    (chain, lanes, top, masks, colours), k = (
        prior_codec.open_stack(header, payload, chosen, images, device),
        nearest_level(chosen.levels, sigma),
    )
    if masks is not None and masks[0] is not None:
        shown[0][:] = ~masks[0].any(2)
    counts = lane_counts([images[0].shape], places[::-1], masks, header.lanes)
    evaluated = 0  # pixels times network evaluations
    for place in places[:segments]:
        partly, around = place == places[:segments][-1], context_around(images, place, masks)
        try:
            channels = images[0].shape[2]
            x = chain.pop(
                lanes,
                (1, channels, place.height, place.width),
                top.at(place, channels),
                around,
                k if partly else -1,
                colours,
            )
        except StackEmpty:
            raise DamagedFile("the stack ends too early") from None
        counts.pop()
        if partly:
            x = np.rint(finish(chosen, x, k, steps, device).numpy())
            x = around.placed(free_values(x, around.free), x.shape)
        else:
            lanes.narrow(counts[-1])
        blocks(images, place)[0][:] = np.clip(x[0].transpose(1, 2, 0) + 128, 0, 255)
        blocks(shown, place)[0][:] = True
        evaluated += place.pixels * (
            len(chosen.levels) - 1 - k + steps if partly else len(chosen.levels)
        )
    free = np.repeat(~shown[0][..., None], images[0].shape[2], 2)
    fill(images[0], free if masks is None else free & masks[0], top, chosen.levels[-1].spacing)
    total = sum(place.pixels for place in places) * len(chosen.levels)
    return Preview(
        np.broadcast_to(pixels, (*known.shape, 3)),
        known,
        sigmas(chosen.levels)[k],
        evaluated / total,
    )


def on_preview(
    data: bytes,
    header: container.Header,
    show: Callable[[np.ndarray, float], None],
    *,
    model: Model,
    device: str = "cpu",
) -> tuple[decoder.Begun, decoder.Progress]:
    """decode_group's begun and progress, which show an image while it is decoded.

    data: of one image under the prior; show: called with (H, W, 4) uint8 and the share decoded, now
    with the preview, then after each segment.  Alpha is 255 where a pixel is decoded, PALE where it
    is a preview.  No pixel is checked until decode_group returns.
    """
    places = locate(header.sizes, header.start, header.segments)
    arrays: list[np.ndarray] = []
    pixels = np.full((header.height, header.width, 4), PALE, np.uint8)
    pixels[..., :3] = preview(data, model=model, device=device).pixels
    show(pixels, 0.0)

    def progress(share: float) -> None:
        images, place = [turned(one, header.flips) for one in (pixels, *arrays)], places.pop()
        shown, decoded = (blocks([image], place)[0] for image in images)
        shown[..., :3], shown[..., 3] = decoded, 255
        show(pixels, share)

    return arrays.extend, progress
