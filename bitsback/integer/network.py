"""The denoiser in integers, which the coder evaluates (ARITHMETIC.md, section 6).

The graph of denoiser.py with the integers of a model file.  A backend (convolution.py and those
named there) computes the convolutions, the sums after them, and their rounding.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from bitsback.diffusion.passes import Pass, coding_passes
from bitsback.diffusion.steps import MEAN_BITS, SCALE_UNIT, Step
from bitsback.integer.config import NetworkConfig
from bitsback.integer.convolution import Layer, Limits, Reference
from bitsback.integer.tiles import Grid, in_tiles

# Limits of the outputs: mean +-16 (trunk) and +-8 (head); scales -8.65..4.3 and -2.9..1.4
# doublings; colour coefficients +-4.
TRUNK_LIMITS: Limits = ((-16 << MEAN_BITS, 16 << MEAN_BITS), (-139, 69), (-256, 256))
HEAD_LIMITS: Limits = ((-8 << MEAN_BITS, 8 << MEAN_BITS), (-46, 23), (-256, 256))
assert SCALE_UNIT == 16

# Pixels that a row of a stage, or of a layer between stages, stands for; of the others, 2.
STAGE_SCALES = {"down2": 4, "up2": 4, "to2": 4, "from2": 4, "middle": 8, "to3": 8, "from3": 8}
COARSEST = 8
HEAD_GRID = Grid(4, 4, (1,))  # two layers of 3x3, in 2x2 blocks
HEAD_LAYERS = ("head_known", "head_mix", "head_out")


def trunk_reach(layers: Mapping[str, Layer]) -> int:
    """Pixels beyond which no input of `trunk` changes an output."""
    padding = {name: layer.padding for name, layer in layers.items()}
    stages = {name: name.split(".")[0] for name in layers}
    return sum(
        padding[name] * STAGE_SCALES.get(stage, 2)
        for name, stage in stages.items()
        if stage not in HEAD_LAYERS
    )


def layer_multiply_adds(name: str, weights: int, passes: int) -> float:
    """Multiply-adds a pixel of a layer in one evaluation of a level, the head in all passes but
    one; each of these has a head_out of its own."""
    stage = name.split(".")[0]
    times = passes - 1 if stage in HEAD_LAYERS and stage != "head_out" else 1
    return times * weights / STAGE_SCALES.get(stage, 2) ** 2


def padded(side: int) -> int:
    """A side, filled up as the network does."""
    return -(-side // COARSEST) * COARSEST


class StepTables(NamedTuple):
    """diffusion.steps.Step with its arrays as int32 tensors on the network's device."""

    from_y: int
    from_f: int
    base: int
    scale: torch.Tensor
    gain: torch.Tensor
    shift: torch.Tensor
    inverse: torch.Tensor


class IntegerNetwork:
    """One expert's network: integers in, integers out, on `device`.

    steps: constants of all steps of the model; first: the expert's first step.  Methods take the
    index of a step: 0 is p(x | y_0), k is p(y_{k-1} | y_k).
    """

    def __init__(
        self, backend: Reference, config: NetworkConfig, steps: Sequence[Step], first: int = 0
    ):
        self.backend, self.config, self.steps, self.first = backend, config, steps, first
        self._tables: dict[int, StepTables] = {}
        self._grid = Grid(COARSEST, padded(trunk_reach(backend.layers)), (1, 2))

    @property
    def device(self) -> torch.device:
        return self.backend.device

    def tables(self, index: int) -> StepTables:
        """The constants of a step, on the network's device."""
        if index not in self._tables:
            step = self.steps[index]
            arrays = (step.scale, step.gain, step.shift, step.inverse)
            self._tables[index] = StepTables(
                step.from_y,
                step.from_f,
                step.base,
                *(torch.from_numpy(array).to(self.device) for array in arrays),
            )
        return self._tables[index]

    def _blocks(
        self, stage: str, count: int, wide: torch.Tensor, x: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual blocks.  wide, x: wide sums and their narrowed form; so is what is returned."""
        for i in range(count):
            h = self.backend.convolve(f"{stage}.{i}.a", x, index, clamp=True)
            wide, x = self.backend.convolve_sum(f"{stage}.{i}.b", h, index, wide)
        return wide, x

    @torch.no_grad()
    def trunk(self, index: int, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3 or 1, H, W) int32 lattice indices -> ((B, 9, H, W) int32, a state for `head`).

        Tile by tile where memory is too small.
        """
        out, state = in_tiles(lambda part: self._trunk(index, part), [y], self._grid)
        return out, state

    def _trunk(self, index: int, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c, sums = self.config, self.backend.convolve_sum
        height, width = y.shape[2:]
        x = self.backend.network_input(y, self.steps[index].input_scale)
        index -= self.first
        half, x = self._blocks("down1", c.n1, *sums("first", x, index), index)
        quarter, x = self._blocks("down2", c.n2, *sums("to2", x, index), index)
        _, x = self._blocks("middle", c.n3, *sums("to3", x, index), index)
        _, x = self._blocks("up2", c.n2, *sums("from3", x, index, quarter, True), index)
        _, x = self._blocks("up1", c.n1, *sums("from2", x, index, half, True), index)
        out = self.backend.convolve_limited("last", x, index, TRUNK_LIMITS, shuffle=True)
        return out[:, :, :height, :width], self.backend.convolve("head_features", x, index)

    @torch.no_grad()
    def head(
        self, index: int, pass_number: int, state: torch.Tensor, innovations: torch.Tensor
    ) -> torch.Tensor:
        """(B, 9, h, w) int32, what a coding pass adds to the trunk's outputs for each 2x2 block.

        innovations: (B, h, w, 12) int8 within INNOVATION_REACH, in 1/16 standard deviation, laid
        out as by passes.Places.put_unshuffled.
        """
        inputs = [state, innovations.permute(0, 3, 1, 2)]
        return in_tiles(lambda *some: [self._head(index, pass_number, *some)], inputs, HEAD_GRID)[0]

    def _head(
        self, index: int, pass_number: int, state: torch.Tensor, innovations: torch.Tensor
    ) -> torch.Tensor:
        index -= self.first
        row = (self.config.passes - 1) * index + pass_number - 1
        h = self.backend.convolve_narrow("head_known", innovations, row, state)
        mixed = self.backend.convolve_narrow("head_mix", h, index, h, 1)
        return self.backend.convolve_limited(
            f"head_out.{pass_number - 1}", mixed, index, HEAD_LIMITS
        )

    def order(self, index: int) -> tuple[Pass, ...]:
        """The coding passes of a step."""
        return coding_passes(self.config.passes)

    def blocks(self, index: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of 2x2 blocks of `head`'s arrays, for an input of these sides."""
        return padded(height) // 2, padded(width) // 2


class IntegerExperts:
    """An IntegerNetwork made of experts: each step uses the expert that it belongs to.

    networks: [(range of steps, IntegerNetwork)].
    """

    def __init__(self, networks: Sequence[tuple[range, IntegerNetwork]]):
        self.networks = networks
        self.steps = networks[0][1].steps

    @property
    def models(self) -> Sequence["IntegerExperts"]:
        """This one, as an ensemble has several (ensemble.py)."""
        return (self,)

    @property
    def backend(self) -> Reference:
        """The first expert's."""
        return self.networks[0][1].backend

    @property
    def device(self) -> torch.device:
        return self.backend.device

    def of(self, index: int) -> IntegerNetwork:
        """The network of a step."""
        return next(network for steps, network in self.networks if index in steps)

    def trunk(self, index: int, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.of(index).trunk(index, y)

    def head(
        self, index: int, pass_number: int, state: torch.Tensor, innovations: torch.Tensor
    ) -> torch.Tensor:
        return self.of(index).head(index, pass_number, state, innovations)

    def order(self, index: int) -> tuple[Pass, ...]:
        return self.of(index).order(index)

    def tables(self, index: int) -> StepTables:
        return self.of(index).tables(index)

    def blocks(self, index: int, height: int, width: int) -> tuple[int, int]:
        return self.of(index).blocks(index, height, width)
