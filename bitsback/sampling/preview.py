"""A quick look at a compressed image: what decodes first, not to its end, finished by a few steps of DDIM.

The stack gives back the segment that was coded last, level by level from the noisiest.  Its levels are decoded down to
a noise that the prior removes well.  What is left of the stack, the segments coded before and the plain part, which lies
at the very bottom, in words that later segments have borrowed, cannot be read before all above it.  There stands what is told
before any segment: flat blocks (flats.py) and, blurred, block means (means.py); gray where a file tells no means.
"""

from dataclasses import dataclass

import numpy as np
import torch

from bitsback.ans.gaussian_tables import FRACTIONS
from bitsback.codecs import block_means, decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.segment_layout import locate, turned
from bitsback.codecs.segments import blocks, context_around
from bitsback.coder.context import free_values
from bitsback.coder.model import Model
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile, StackEmpty, UnsupportedImage
from bitsback.sampling.chain_sampler import nearest_level
from bitsback.sampling.denoisers import model_denoiser, sampling_levels
from bitsback.sampling.samplers import ddim

GRAY = 128


@dataclass(frozen=True)
class Preview:
    """pixels: (H, W, 3) uint8; known: (H, W) bool, what is decoded or told in all channels, the rest is blurred or GRAY (see `fill`).

    sigma: noise at which decoding stopped, gray levels, 0 of a file stored conventionally; share: network passes (times
    pixels) made, of those of a full decode.
    """

    pixels: np.ndarray
    known: np.ndarray
    sigma: float
    share: float


def finish(model, y, k, steps, device="cpu"):
    """y_k (B, 3 or 1, H, W) lattice indices -> pixels minus 128, float32: `steps` evaluations of DDIM."""
    levels = sampling_levels(model.levels, steps, sigmas(model.levels)[k])
    start = torch.from_numpy(y).float() * model.levels[k].spacing
    return ddim(model_denoiser(model, levels, device), start, levels)


def fill(pixels, free, top, spacing):
    """Paints what is not known.  pixels: (H, W, 3 or 1) uint8; free: the same shape, bool, True where to; top: the Top of the file.

    spacing: of the last level, gray levels.  Told means are joined by straight lines, in all their digits: mean32, in 1/32 of that spacing, would
    show bands.  Without them the whole of a pixel that is free anywhere is GRAY: one flat channel beside two gray ones is a false colour.
    """
    (height, width, channels), side = pixels.shape, block_means.SIDE
    if not isinstance(top, block_means.LocalTop):
        pixels[free.any(2)] = GRAY
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


def preview(data, *, model=None, sigma=9.0, steps=2, segments=1, device="cpu"):
    """The bytes of a .bbk file -> Preview.

    sigma: decoding stops at the model's level nearest to it; segments: how many to show, all but the last of them decoded
    fully, as they must be before the next; model: as in decode.  An image that is stored plainly is decoded.
    Errors: NotOurFile, DamagedFile, WrongModel; UnsupportedImage for an archive.
    """
    header, payload = container.read(data)
    if header.archive:
        raise UnsupportedImage("an archive of images; a preview is of one")
    known = np.zeros((header.height, header.width), bool)
    if not header.model:
        image = decoder.decode_image(data)
        if image.colour is None:
            raise UnsupportedImage(
                f"an image of mode {image.mode} has nothing to preview: decompress it, it is quick"
            )
        return Preview(np.broadcast_to(image.colour, (*known.shape, 3)), ~known, 0.0, 1.0)
    model = Model.of_file(model, header.model)
    pixels = np.full((header.height, header.width, header.sizes[0][2]), GRAY, np.uint8)
    images, shown = [turned(pixels, header.flips)], [turned(known, header.flips)]
    places = locate([images[0].shape], header.start, header.segments)[::-1]
    (chain, stack, top, masks, colours), k = (
        prior_codec.open_stack(header, payload, model, images, device),
        nearest_level(model.levels, sigma),
    )
    if masks is not None:
        shown[0][:] = ~masks[0].any(2)
    passes = 0
    for place in places[:segments]:
        partly, around = place == places[:segments][-1], context_around(images, place, masks)
        try:
            channels = images[0].shape[2]
            x = chain.pop(
                stack,
                (1, channels, place.height, place.width),
                top.at(place, channels),
                around,
                k if partly else -1,
                colours,
            )
        except StackEmpty:
            raise DamagedFile("the words end too early") from None
        if partly:
            x = np.rint(finish(model, x, k, steps, device).numpy())
            x = around.placed(free_values(x, around.free), x.shape)
        blocks(images, place)[0][:] = np.clip(x[0].transpose(1, 2, 0) + 128, 0, 255)
        blocks(shown, place)[0][:] = True
        passes += place.pixels * (
            len(model.levels) - 1 - k + steps if partly else len(model.levels)
        )
    free = np.repeat(~shown[0][..., None], images[0].shape[2], 2)
    fill(images[0], free if masks is None else free & masks[0], top, model.levels[-1].spacing)
    total = sum(place.pixels for place in places) * len(model.levels)
    return Preview(
        np.broadcast_to(pixels, (*known.shape, 3)), known, sigmas(model.levels)[k], passes / total
    )
