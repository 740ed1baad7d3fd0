"""The proof that no sum of a model's integers can leave float32's exact range.

The exporter refuses a model without it; a decoder repeats it for updated biases.
"""

from collections.abc import Mapping

import torch

from bitsback.errors import TrainingError
from bitsback.integer.config import EXACT, INNOVATION_REACH, INPUT_REACH
from bitsback.integer.convolution import TOP, Layer


def largest_sum(layer: Layer, reach: int) -> torch.Tensor:
    """(O,) int64: largest absolute value of an accumulator, in any order of summation.

    reach: largest absolute value of an input.
    """
    return layer.weight.long().abs().flatten(1).sum(1) * reach + layer.bias.long().abs().amax(0)


def prove_exact(layers: Mapping[str, Layer]) -> int:
    """The largest possible accumulator of a network.

    Errors: TrainingError where an accumulator or a wide sum could reach 2^24.
    """
    reaches = {"first": INPUT_REACH, "head_known": INNOVATION_REACH}
    largest = 0
    stages: dict[str, float] = {}  # sum of all outputs that could be added up
    for name, layer in layers.items():
        sums = largest_sum(layer, reaches.get(name, TOP))
        largest = max(largest, int(sums.max()))
        if largest >= EXACT:
            raise TrainingError(
                f"{name}: a sum can reach {int(sums.max())}, float32 is exact below {EXACT} only"
            )
        output = float((sums.double() * torch.exp2(-layer.shift.double())).max()) + 1
        stage = "head" if name.startswith("head") else "trunk"
        stages[stage] = stages.get(stage, 0) + output
    if max(stages.values()) >= EXACT:
        raise TrainingError(
            f"wide sums can reach {max(stages.values()):.0f}, float32 is exact below {EXACT} only"
        )
    return largest
