"""Augmentation towards photographs at full size, which a set of reduced images lacks.

A camera's image at full size is soft (demosaiced, denoised, enlarged), graded, sharpened, noisy in
proportion to its light, and was a JPEG at high quality, most often with colours at half the
resolution.  The shipped models were trained with a quarter of their patches changed in this way
(benchmarks/checkpoints/README.md).  Nothing here but
`some_in_the_wild` waits for the device, so that a training step on a GPU may be one CUDA graph.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bitsback.train.augment import TO_RGB, TO_YCC, colour_transform, like

DRAWS_PER_PATCH = 16  # random numbers that a patch needs
MCU_SIDE = 16  # pixels, side of a JPEG's minimum coded unit at 4:2:0
# Quantisation tables of ITU-T T.81, annex K, for quality 50
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47),
    (18, 21, 26, 66),
    (24, 26, 56, 99),
    (47, 66, 99, 99),
)  # the rest: 99
WILD_SHARE = 1 / 4  # of the patches go through `in_the_wild`
BINOMIAL = ((1, 2, 1), (2, 4, 2), (1, 2, 1))  # sixteenths


@dataclass(frozen=True)
class Odds:
    """Of the patches that go through `in_the_wild`, shares that each step changes, 0 to 1."""

    soft: float = 0.6  # enlarged by 1.2 to 2
    graded: float = 0.25  # gamma of 0.78 to 1.28
    sharp: float = 0.25  # sharpened
    noisy: float = 0.5  # sensor noise of up to 3 gray levels
    packed: float = 0.6  # JPEG at quality 85 to 98
    halved: float = 0.6  # of the JPEGs have colours at half resolution


ODDS = Odds()


def _each(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _cosines(like: torch.Tensor) -> torch.Tensor:
    """The orthonormal DCT of 8 samples: (8, 8)."""
    k = torch.arange(8, device=like.device, dtype=like.dtype)
    rows = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
    return rows * torch.where(k[:, None] == 0, math.sqrt(0.5), 1.0)


def _rounded_blocks(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W), H and W multiples of 8: 8x8 DCTs rounded to steps of table (B, 8, 8)."""
    batch, channels, height, width = x.shape
    cosines = _cosines(x)
    blocks = x.view(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = table.view(batch, 1, 1, 1, 8, 8)
    rounded = torch.round(cosines @ blocks @ cosines.T / steps) * steps
    return (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(x.shape)


def _rolled(x: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Each image of (B, C, H, W) rolled by its own number of rows and columns, (B,) int."""
    batch, _, height, width = x.shape
    rows = (torch.arange(height, device=x.device) + down[:, None]) % height
    columns = (torch.arange(width, device=x.device) + right[:, None]) % width
    which = torch.arange(batch, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def jpeg(
    x: torch.Tensor, quality: torch.Tensor, halved: torch.Tensor, corner: torch.Tensor
) -> torch.Tensor:
    """Images after JPEG compression and decompression, as whole numbers.

    x: (B, 3, H, W) float, gray levels 0..255, sides multiples of 16; quality: (B,) 1..100, as
    libjpeg's; halved: (B,) bool, 4:2:0 and interpolated back, else 4:4:4; corner: (2, B) int, rows
    and columns from the image's corner to that of the next coded unit of 16x16 pixels.
    """
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1) / 100
    luma, chroma = like(x, LUMA_TABLE), x.new_full((8, 8), 99)
    chroma[:4, :4] = like(x, CHROMA_TABLE)
    luma, chroma = ((table * scale).round().clamp(1, 255) for table in (luma, chroma))
    ycc = colour_transform(_rolled(x, *corner).contiguous(), TO_YCC)
    full = _rounded_blocks(ycc[:, 1:].contiguous(), chroma)
    half = F.interpolate(
        _rounded_blocks(F.avg_pool2d(ycc[:, 1:], 2), chroma),
        scale_factor=2.0,
        mode="bilinear",
        align_corners=False,
    )
    colours = torch.where(_each(halved), half, full).round()
    grays = (_rounded_blocks(ycc[:, :1] - 128, luma) + 128).round()
    rgb = colour_transform(torch.cat([grays, colours], 1), TO_RGB).round().clamp(0, 255)
    return _rolled(rgb, *-corner)


def blurred(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) after a 3x3 binomial filter, edges repeated."""
    kernel = (like(x, BINOMIAL) / 16).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


def enlarged(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """The middle of each image (B, C, P, P), enlarged by its factor (B,) >= 1, in the same size."""
    batch, _, side, _ = x.shape
    ramp = (2 * torch.arange(side, device=x.device) + 1) / side - 1
    row, column = (ramp.view(shape) / by.view(-1, 1, 1) for shape in ((1, -1, 1), (1, 1, -1)))
    grid = torch.stack([column.expand(batch, side, side), row.expand(batch, side, side)], 3)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def with_sensor_noise(
    x: torch.Tensor,
    level: torch.Tensor,
    smooth: torch.Tensor,
    gray: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """x with noise that grows with the root of the light: sd `level` gray levels at middle gray.

    x, noise: (B, 3, H, W), noise standard normal; level: (B,); smooth: (B,) bool, spatially
    correlated as after demosaicing; gray: (B,) bool, the same noise in all three colours.
    """
    noise = torch.where(_each(smooth), 1.6 * blurred(noise), noise)
    noise = torch.where(_each(gray), 1.7 * noise.mean(1, keepdim=True), noise)
    return x + _each(level) * noise * (0.3 + 0.7 * (x.clamp_min(0) / 128).sqrt())


def in_the_wild(
    x: torch.Tensor, uniform: torch.Tensor, noise: torch.Tensor, odds: Odds = ODDS
) -> torch.Tensor:
    """Softening, grading, sharpening, noise, JPEG: each applied to a share of the patches.

    x: (B, 3, P, P) float, whole gray levels 0..255, P a multiple of 16; uniform:
    (DRAWS_PER_PATCH, B), random in 0..1; noise: like x, standard normal.
    """
    u, one = uniform, torch.ones_like(uniform[0])
    x = torch.where(_each(u[0] < odds.soft), enlarged(x, 1.2 + 0.8 * u[1]), x)
    gamma = torch.where(u[2] < odds.graded, torch.exp((u[3] - 0.5) / 2), one)
    x = 255 * (x.clamp(0, 255) / 255) ** _each(gamma)
    x = x + _each(torch.where(u[4] < odds.sharp, 0.8 * u[5], 0 * one)) * (x - blurred(x))
    level = torch.where(u[6] < odds.noisy, 3 * u[7] ** 2, 0 * one)
    x = with_sensor_noise(x, level, u[8] < 0.6, u[9] < 0.3, noise).round().clamp(0, 255)
    packed = jpeg(x, 85 + 13 * u[13], u[14] < odds.halved, (MCU_SIDE * u[11:13]).long())
    return torch.where(_each(u[10] < odds.packed), packed, x)


def some_in_the_wild(
    x: torch.Tensor, uniform: torch.Tensor, noise: torch.Tensor, share: float = WILD_SHARE
) -> torch.Tensor:
    """in_the_wild for `share` of the patches.

    uniform: (DRAWS_PER_PATCH + 1, B); its last row chooses the patches.
    """
    x, chosen = x.clone(), uniform[-1] < share
    x[chosen] = in_the_wild(x[chosen], uniform[:-1, chosen], noise[chosen])
    return x
