"""The denoiser in floating point behind the integer interface of prior.py.

For format version 0 only: rounding may differ between machines, and one flipped integer spoils
the rest of a group.  integer_network.py computes the same numbers exactly.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from .denoiser import INPUT_REACH, PHASES
from .levels import COLOUR_BITS, MEAN_BITS, SCALE_UNIT
from .prior import rounded_shift

# What the network's 9 numbers are multiplied by, and clamped to before: mean, log sd, colour.
OUTPUT_UNITS = np.array([2**MEAN_BITS] * 3 + [SCALE_UNIT / math.log(2)] * 3 + [2**COLOUR_BITS] * 3)
OUTPUT_LIMITS = {"trunk": ((-16, 16), (-6, 3), (-4, 4)), "head": ((-8, 8), (-2, 1), (-4, 4))}


def to_integers(out, which):
    """(B, 9, H, W) float network output -> int32 in OUTPUT_UNITS, clamped to OUTPUT_LIMITS."""
    if which == "head":                 # the head speaks of log v, the trunk of log sd
        out = torch.cat([out[:, 0:3], out[:, 3:6] / 2, out[:, 6:9]], 1)
    parts = [part.clamp(*limits) for part, limits in zip(out.split(3, 1), OUTPUT_LIMITS[which])]
    units = torch.as_tensor(OUTPUT_UNITS, dtype=torch.float32, device=out.device).view(1, 9, 1, 1)
    return torch.round(torch.cat(parts, 1) * units).to(torch.int32).cpu().numpy()


class FloatNetwork:
    """trunk(index, y) and head(index, phase, state, known), integers in and out."""

    def __init__(self, denoiser, steps, device="cpu", integer=False):
        self.denoiser, self.steps, self.integer = denoiser.to(device), steps, integer
        self.device = torch.device(device)

    def _padded(self, array, scale):
        """(B, 3, H, W) integers -> float tensor, zeros up to multiples of 8."""
        height, width = array.shape[2:]
        tensor = torch.from_numpy(array).to(self.device, torch.float32) * scale
        return F.pad(tensor, (0, -width % 8, 0, -height % 8))

    @torch.no_grad()
    def trunk(self, index, y):
        """y: (B, 3, H, W) int32 lattice indices -> (B, 9, H, W) int32 and a state for `head`."""
        step = self.steps[index]
        height, width = y.shape[2:]
        x = np.clip(rounded_shift(y * step.input_scale, 8), -INPUT_REACH, INPUT_REACH)
        one = torch.ones(1, device=self.device)
        e = self.denoiser.embed(one * math.log(step.sigma_t))
        out, features = self.denoiser.body(self._padded(x, 1 / 128), e, self.integer)
        ratio = 0.0 if step.pixels else math.log(step.ratio)
        bias = self.denoiser.head_bias(e, one * ratio, one * step.pixels)
        state = self.denoiser.head_features(features, self.integer), bias
        return to_integers(out[:, :, :height, :width], "trunk"), state

    @torch.no_grad()
    def head(self, index, phase, state, known):
        """known: (B, 3, H, W) int32 innovations, 1/16 sd -> (B, 9, h, w) int32 of that phase."""
        projected, bias = state
        h = self.denoiser.head_body(projected, self._padded(known, 1 / 16), bias[:, phase - 1], self.integer)
        out = to_integers(self.denoiser.head_out[phase - 1](h, self.integer), "head")
        row, column = PHASES[phase]
        return out[:, :, : (known.shape[2] - row + 1) // 2, : (known.shape[3] - column + 1) // 2]
