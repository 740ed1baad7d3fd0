"""Bits a dimension of images under a model, as papers report them: from the bound to real files.

bound    VDM's (arXiv 2107.00630, section 3.5): prior + diffusion + reconstruction, by Monte Carlo,
         with the coder's levels, colours and passes; in floating point, rounded as the integers are
net      what the integer coder pushes less what it pops, without a file
file     real files of one image each, header and start included
archive  a real file of all images

Bound and net are of tiles, each coded by itself, whose sides are multiples of 8, the network's
coarsest stage: what is left at the right and lower edges counts in files only.  A file may take
less than the bound: it has side information that tiles lack, such as counts of colours and means of
blocks.  It is the fallback codec's where that is smaller (Rate.by_prior).
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitsback.codecs.bitstream.container import Entry, read_header
from bitsback.codecs.decoder import Progress, no_progress, shared
from bitsback.codecs.encoder import Encoder
from bitsback.codecs.groups import encode_groups
from bitsback.codecs.image import ImageData
from bitsback.codecs.prior_trial import prior_bits
from bitsback.coder.model import Model
from bitsback.devices import require
from bitsback.diffusion.levels import sigmas, spaced
from bitsback.errors import UnsupportedImage, WrongModel
from bitsback.train.bound import BoundNetwork
from bitsback.train.calibration import Calibrated, calibrate
from bitsback.train.dequantise import dequantised_model
from bitsback.train.ensemble import bound_network
from bitsback.train.experts import Experts
from bitsback.train.export import save_model
from bitsback.train.measure import bound_bits, bound_parts
from bitsback.train.plain import plain_torch
from bitsback.train.variances import graded_bits, measure_moments

MEASURES = ("bound", "net", "file", "archive")
MULTIPLE, TILE = 8, 256  # sides of tiles, pixels
AT_ONCE = 64  # tiles of one size that the network sees together at most, if they are small


class Rate(NamedTuple):
    """Bits a dimension over a set, bits added up, and the standard error over its images.

    error: of a ratio of sums, the usual one where all images have one size; NaN for one image.
    by_prior: of file_rate, the number of files that the prior coded, at least in part; the others
    are by the fallback codec, and say nothing of a model.
    """

    mean: float
    error: float
    by_prior: int | None = None


def rate(bits: Sequence[float] | np.ndarray, dims: Sequence[int] | np.ndarray) -> Rate:
    """The Rate of images with these bits and dimensions (Cochran, Sampling Techniques, ch. 6).

    Errors: ValueError for none, or for another number of the one than of the other.

    >>> rate([10, 90], [10, 30]).mean
    2.5
    """
    if len(bits) != len(dims) or not len(bits):
        raise ValueError(f"bits of {len(bits)} images, dimensions of {len(dims)}")
    b, d = np.array(bits, float), np.array(dims, float)
    mean, count = float(b.sum() / d.sum()), len(b)
    if count < 2:
        return Rate(mean, math.nan)
    spread = np.square(b - mean * d).sum() / (count * (count - 1))
    return Rate(mean, math.sqrt(spread) / float(d.mean()))


def tiles(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Views of (H, W, C), sides multiples of MULTIPLE and at most TILE."""
    height, width = (side // MULTIPLE * MULTIPLE for side in pixels.shape[:2])
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield pixels[top : min(top + TILE, height), left : min(left + TILE, width)]


def _batches(images: list[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray]]:
    """(numbers of the images, (B, H, W, C)) of tiles of one size."""
    sizes: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for i, pixels in enumerate(images):
        for tile in tiles(pixels):
            sizes.setdefault(tile.shape, []).append((i, tile))
    for (height, width, _), found in sizes.items():
        count = max(1, min(AT_ONCE, TILE**2 // (height * width)))
        for begin in range(0, len(found), count):
            some = found[begin : begin + count]
            yield [i for i, _ in some], np.stack([tile for _, tile in some])


def as_tensor(tile: np.ndarray) -> Tensor:
    """(B, H, W, 3 or 1) uint8 -> (B, 3, H, W) float32, pixels - 128, gray ones thrice."""
    planes = torch.from_numpy(np.ascontiguousarray(tile)).permute(0, 3, 1, 2).float() - 128
    return planes.expand(-1, 3, -1, -1).contiguous()


@plain_torch()
def tile_rates(
    images: list[np.ndarray],
    model: Model,
    measures: Sequence[str] = ("bound", "net"),
    *,
    device: str = "cpu",
    seed: int = 1,
    progress: Progress = no_progress,
) -> dict[str, Rate]:
    """Rates of tiles: reconstruction, diffusion and prior, which add up to bound; and net.

    images: (H, W, 3 or 1) uint8; measures: of bound and net.  Errors: UnsupportedImage for other
    images, and where all are too small; BitsbackError for a device that is not here; ValueError;
    TypeError for a model that is none.
    """
    if not isinstance(model, Model):
        raise TypeError(f"a Model is needed (Model.open), not {type(model).__name__}")
    if not measures or set(measures) - {"bound", "net"}:
        raise ValueError(f"measures {measures}: some of bound and net are needed")
    for pixels in images:
        plain = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
        if not plain or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise UnsupportedImage("tiles are of arrays (H, W, 3 or 1) of uint8")
    require(device)
    parts: dict[str, np.ndarray] = {}
    dims, network = np.zeros(len(images), int), bound_network(model).to(device)
    batches = list(_batches(images))
    if not batches:
        raise UnsupportedImage(f"no image of {MULTIPLE}x{MULTIPLE} pixels or more")

    def add(name, numbers, bits):
        np.add.at(parts.setdefault(name, np.zeros(len(images))), numbers, bits)

    for j, (numbers, batch) in enumerate(batches):
        size = batch[0].size
        np.add.at(dims, numbers, size)
        if "bound" in measures:
            x = as_tensor(batch).to(device)
            gray = torch.full((len(batch),), True, device=device) if batch.shape[3] == 1 else None
            found = bound_parts(network, model.levels, x, True, seed + j, len(batch), gray)
            bits = size * found.cpu().numpy()
            add("reconstruction", numbers, bits[:, 0])
            add("diffusion", numbers, bits[:, 1:-1].sum(1))
            add("prior", numbers, bits[:, -1])
            add("bound", numbers, bits.sum(1))
        if "net" in measures:
            add("net", numbers, prior_bits(batch, model, device))
        progress((j + 1) / len(batches))
    there = dims > 0
    return {name: rate(bits[there], dims[there]) for name, bits in parts.items()}


def file_rate(images: list[ImageData], encoder: Encoder, progress: Progress = no_progress) -> Rate:
    """The Rate of files of one image each, verified if the encoder verifies.  Errors: ValueError
    for no images; Encoder.encode's."""
    bits, by_prior = [], 0
    for i, image in enumerate(images):
        data = encoder.encode(image, shared(progress, i, len(images)))
        bits.append(8.0 * len(data))
        by_prior += bool(read_header(data).model)
    found = rate(bits, [image.samples.size for image in images])
    return found._replace(by_prior=by_prior)


def archive_rate(
    images: list[ImageData], encoder: Encoder, progress: Progress = no_progress
) -> Rate:
    """The Rate of one archive, named by number; its standard error is not known (NaN).  Errors:
    ValueError for no images; Encoder.encode_many's."""
    if not images:
        raise ValueError("no images")
    entries = tuple(
        Entry(one.width, one.height, f"{i}", mode=one.mode) for i, one in enumerate(images)
    )
    data = encode_groups(images, entries, encoder, progress)
    return Rate(8 * len(data) / sum(image.samples.size for image in images), math.nan)


def with_levels(model: Model, count: int, path: Path) -> Model:
    """The model with `count` levels, even in log sigma between its ends, written to a path.

    Each is coded by the expert, and with the biases, of the nearest level that the model was
    trained for: no retraining, so its own number is best.
    """
    if model.plan:
        raise WrongModel(f"{model.path}: an ensemble has its own levels only")
    network, noise = dequantised_model(model), sigmas(model.levels)
    levels = spaced(count, noise[0], noise[-1])
    logs = np.log(sigmas(levels))
    nearest = np.abs(logs[:, None] - np.log(noise)).argmin(1)
    owners = [next(i for i, s in enumerate(network.shares) if k in s) for k in nearest]
    kept = sorted(set(owners))
    shares = [range(owners.index(i), owners.index(i) + owners.count(i)) for i in kept]
    families = [network.families[i] for i in kept]
    numbers = [sorted(set(families)).index(family) for family in families]
    networks = [network.parts()[i][0] for i in kept]
    joined = Experts(networks, shares, sigmas(levels), numbers)
    save_model(path, joined, levels, model.description.get("training", {}))
    return Model(path, path.read_bytes())  # not mapped: Windows removes no file that is


@plain_torch()
def graded_rates(
    images: list[np.ndarray],
    training: list[np.ndarray],
    model: Model,
    side: int = 64,
    seed: int = 1,
) -> dict[str, float]:
    """{grade: bound in bits a dimension} of centre crops: grades of the reverse variance
    (train/variances.py) and the coder's with calibration, both measured on training images.

    images, training: (H, W, 3) uint8.  Errors: UnsupportedImage for images smaller than 8x8.
    """
    smallest = min(min(pixels.shape[:2]) for pixels in images + training)
    side = min(side, smallest // MULTIPLE * MULTIPLE)
    if not side or any(pixels.shape[2] != 3 for pixels in images + training):
        raise UnsupportedImage("grades are of colour images of 8x8 pixels or more")
    x, train = (as_tensor(np.stack([_centre(p, side) for p in s])) for s in (images, training))
    network: BoundNetwork = bound_network(model)
    noise, generator = list(sigmas(model.levels)), torch.Generator().manual_seed(seed)
    moments = [measure_moments(network, sigma, train, generator) for sigma in noise]
    graded = graded_bits(network, noise, x, moments, seed=seed)
    top = bound_bits(network, model.levels, x, False, seed)[-1]
    found = {grade: sum(bits) + top for grade, bits in graded.items()}
    table, _ = calibrate(network, noise, train, seed)
    moved = Calibrated(network, noise, table)
    return found | {"calibrated": sum(bound_bits(moved, model.levels, x, False, seed))}


def _centre(pixels, side):
    top, left = ((whole - side) // 2 for whole in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
