"""The figure of `map`: heat maps of bits a pixel, and a bar of a file's parts, by matplotlib."""

import math

import numpy as np

from bitsback.codecs.bit_map import BRIGHTEST, BitMap
from bitsback.errors import BitsbackError

INCHES, DOTS = 6.0, 110  # width of a panel; dots an inch
COLUMNS = 4  # panels of levels in a row


def figure(found: BitMap, name: str, levels: bool = False) -> np.ndarray:
    """(H, W, 3) uint8: the picture.  levels: a panel for each latent too.

    Errors: BitsbackError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise BitsbackError("map needs matplotlib: pip install 'bitsback[plot]'") from None
    panels = list(found.latents) if levels else []
    rows = math.ceil(len(panels) / COLUMNS)
    aspect = min(2.0, max(0.4, found.fallback.shape[0] / found.fallback.shape[1]))
    wide = INCHES * (1.6 if panels else 1.0)
    small = wide / COLUMNS * aspect + 0.3
    heights = [
        0.9 * wide * aspect,
        1.6,
        *[small] * rows,
    ]  # the image fills the width beside its scale
    picture = Figure(figsize=(wide, sum(heights)), dpi=DOTS, layout="constrained")
    canvas = FigureCanvasAgg(picture)
    grid = picture.add_gridspec(2 + rows, COLUMNS, height_ratios=heights)
    main = picture.add_subplot(grid[0, :])
    _heat(picture, main, found.pixels, f"{name}: {found.total // 8} bytes, bits a pixel")
    _bar(picture.add_subplot(grid[1, :]), found)
    for i, plane in enumerate(panels):
        axes = picture.add_subplot(grid[2 + i // COLUMNS, i % COLUMNS])
        title = f"y_{i - 1} ({found.sigmas[i]:.1f})" if i else "x"
        _heat(picture, axes, plane, f"{title}: {plane.sum() / 8:.0f} bytes")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _heat(picture, axes, plane, title):
    top = max(float(np.percentile(plane, BRIGHTEST)), 1e-9)
    low = min(0.0, float(np.percentile(plane, 100 - BRIGHTEST)))
    drawn = axes.imshow(plane, vmin=low, vmax=top, cmap="magma", interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    picture.colorbar(drawn, ax=axes, shrink=0.8)


def _bar(axes, found):
    """One bar: latents, fallback, the rest; of bytes.

    A latent may cost less than was popped for it: its part ends at 0, from the left.
    """
    left = sum(min(0.0, bits) for bits in found.parts.values()) / 8
    for name, bits in sorted(found.parts.items(), key=lambda part: part[1] > 0):
        axes.barh(0, abs(bits) / 8, left=left, label=f"{name} {bits / 8:.0f}")
        left += abs(bits) / 8
    axes.set_yticks([])
    axes.set_xlabel("bytes", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(ncols=4, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.4), frameon=False)
