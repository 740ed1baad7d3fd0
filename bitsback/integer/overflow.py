"""The proof that no sum of a model's integers can leave float32's exact range.

The exporter refuses a model without it; a decoder repeats it for biases that a file has changed.
"""

import torch

from bitsback.errors import TrainingError
from bitsback.integer.config import EXACT, INNOVATION_REACH, INPUT_REACH
from bitsback.integer.convolution import TOP


def largest_sum(layer, reach):
    """(O,) int64: no accumulator, in any order of summation, is larger in absolute value."""
    return layer.weight.long().abs().flatten(1).sum(1) * reach + layer.bias.long().abs().amax(0)


def prove_exact(layers):
    """Refuses a model some sum of which could leave +-2^24.  Returns the largest found.  Errors: TrainingError."""
    reaches = {"first": INPUT_REACH, "head_known": INNOVATION_REACH}
    largest, stages = 0, {}
    for name, layer in layers.items():
        sums = largest_sum(layer, reaches.get(name, TOP))
        largest = max(largest, int(sums.max()))
        if largest >= EXACT:
            raise TrainingError(
                f"{name}: a sum can reach {int(sums.max())}, float32 is exact below {EXACT} only"
            )
        output = float((sums.double() * torch.exp2(-layer.shift.double())).max()) + 1
        stage = "head" if name.startswith("head") else "trunk"  # all that could ever be added up
        stages[stage] = stages.get(stage, 0) + output
    if max(stages.values()) >= EXACT:
        raise TrainingError(
            f"wide sums can reach {max(stages.values()):.0f}, float32 is exact below {EXACT} only"
        )
    return largest
