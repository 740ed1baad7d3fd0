"""The denoiser in integers: what the coder evaluates.  Specified in ARITHMETIC.md.

The same graph as denoiser.py, read from the integers of a model file.  `backend` does the
convolutions (exact.py); all else is sums, clamps and rounding of float32 integers below 2^24.
"""

import dataclasses

import torch
import torch.nn.functional as F

from bitsback.diffusion.passes import coding_passes
from bitsback.diffusion.steps import MEAN_BITS, SCALE_UNIT
from bitsback.integer.config import INPUT_REACH
from bitsback.integer.fixed_point import rounded_shift

# Largest values handed on: mean +-16 (trunk) and +-8 (head); scales -8.65..4.3 and -2.9..1.4
# doublings; colour coefficients +-4.
TRUNK_LIMITS = ((-16 << MEAN_BITS, 16 << MEAN_BITS), (-139, 69), (-256, 256))
HEAD_LIMITS = ((-8 << MEAN_BITS, 8 << MEAN_BITS), (-46, 23), (-256, 256))
assert SCALE_UNIT == 16


def _limited(out, limits):
    """(B, 9, h, w) float32 integers -> int32, each kind clamped to its limits."""
    for part, (low, high) in zip(out.split(3, 1), limits):
        part.clamp_(low, high)
    return out.to(torch.int32)


class IntegerNetwork:
    """trunk(index, y) and head(index, pass, state, known): integers in, integers out, on `device`; order(index): the passes; tables(index): of its step.

    index: which step, 0 is p(x | y_0); steps: the integers of steps.Step; first: the step of the first row of biases.
    """

    def __init__(self, backend, config, steps, first=0):
        self.backend, self.config, self.steps, self.first = backend, config, steps, first
        self._tables = {}

    @property
    def device(self):
        return self.backend.device

    def tables(self, index):
        """steps.Step of a step, its arrays int32 tensors on the network's device."""
        if index not in self._tables:
            step = self.steps[index]
            arrays = {
                name: torch.from_numpy(getattr(step, name)).to(self.device)
                for name in ("scale", "gain", "shift", "inverse")
            }
            self._tables[index] = dataclasses.replace(step, **arrays)
        return self._tables[index]

    def _input(self, array):
        """(B, 3, H, W) int32, or (B, 1, H, W) which count three times -> (B, 12, H/2, W/2) float32, zeros up to multiples of 8."""
        height, width = array.shape[2:]
        tensor = array.clamp(-INPUT_REACH, INPUT_REACH).to(torch.float32).expand(-1, 3, -1, -1)
        tensor = F.pad(tensor, (0, -width % 8, 0, -height % 8))
        return F.pixel_unshuffle(tensor, 2).contiguous(memory_format=torch.channels_last)

    def _blocks(self, stage, count, wide, index):
        for i in range(count):
            h = self.backend.convolve(
                f"{stage}.{i}.a", self.backend.narrow(wide), index, clamp=True
            )
            wide = self.backend.convolve(f"{stage}.{i}.b", h, index).add_(wide)
        return wide

    @torch.no_grad()
    def trunk(self, index, y):
        """y: (B, 3 or 1, H, W) int32 lattice indices -> (B, 9, H, W) int32 and a state for `head`."""
        c, convolve, activation = self.config, self.backend.convolve, self.backend.narrow
        height, width = y.shape[2:]
        x = self._input(rounded_shift(y * self.steps[index].input_scale, 8))
        index -= self.first
        half = self._blocks("down1", c.n1, convolve("first", x, index), index)
        quarter = self._blocks("down2", c.n2, convolve("to2", activation(half), index), index)
        eighth = self._blocks("middle", c.n3, convolve("to3", activation(quarter), index), index)
        quarter += F.pixel_shuffle(convolve("from3", activation(eighth), index), 2)
        quarter = self._blocks("up2", c.n2, quarter, index)
        half += F.pixel_shuffle(convolve("from2", activation(quarter), index), 2)
        features = activation(self._blocks("up1", c.n1, half, index))
        out = F.pixel_shuffle(convolve("last", features, index), 2)[:, :, :height, :width]
        return _limited(out, TRUNK_LIMITS), convolve("head_features", features, index)

    @torch.no_grad()
    def head(self, index, pass_number, state, innovations):
        """innovations: (B, h, w, 12) int8 innovations, 1/16 sd, within INNOVATION_REACH, of 2x2 blocks (passes.Places.put_unshuffled) -> (B, 9, h, w) int32."""
        index, innovations = index - self.first, innovations.permute(0, 3, 1, 2)
        h = self.backend.narrow(
            self.backend.convolve(
                "head_known", innovations, (self.config.passes - 1) * index + pass_number - 1
            ).add_(state)
        )
        mixed = self.backend.narrow(self.backend.convolve("head_mix", h, index).add_(h), 1)
        return _limited(
            self.backend.convolve(f"head_out.{pass_number - 1}", mixed, index), HEAD_LIMITS
        )

    def order(self, index):
        """Passes of a step, as denoiser.passes gives them."""
        return coding_passes(self.config.passes)


class IntegerExperts:
    """trunk, head and order of the expert that a step asks.  networks: [(range of steps, IntegerNetwork)]."""

    def __init__(self, networks):
        self.networks = networks
        self.steps = networks[0][1].steps

    @property
    def backend(self):
        return self.networks[0][1].backend

    @property
    def device(self):
        return self.backend.device

    def of(self, index):
        return next(network for steps, network in self.networks if index in steps)

    def trunk(self, index, y):
        return self.of(index).trunk(index, y)

    def head(self, index, pass_number, state, innovations):
        return self.of(index).head(index, pass_number, state, innovations)

    def order(self, index):
        return self.of(index).order(index)

    def tables(self, index):
        return self.of(index).tables(index)
