"""Experts: networks for a range of noise levels each (after eDiff-I, arXiv 2211.01324).

Each level uses one expert, so that more experts enlarge the model file but take no longer.  The
first expert has the finest levels, where most bits are.  Experts grown out of one network are a
*family*: their channels mean the same, so that an image's bias updates (bias_updates.py) apply to
all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bitsback.integer.config import NetworkConfig
from bitsback.integer.convolution import Layer


@dataclass(frozen=True)
class Expert:
    """One network of a model: its sizes, its steps, its integers, the number of its family."""

    config: NetworkConfig
    steps: range
    layers: Mapping[str, Layer]
    family: int


def share_out(shares: Iterable[range], count: int) -> bool:
    """Whether ranges of levels cover 0..count - 1, each level once, in order."""
    shares = list(shares)
    if sum(map(len, shares)) != count:  # before a list is made as long as a file may say
        return False
    return [k for share in shares for k in share] == list(range(count))


def families_fit(families: Sequence[int], configs: Sequence[NetworkConfig]) -> bool:
    """Whether family numbers rise from 0 by one at a time, with equal sizes within a family.

    The embedding's size does not count: the integers have no embedding.
    """
    configs = [replace(config, embedding=0) for config in configs]
    steps = [b - a for a, b in zip([-1, *families], families)]
    return (
        bool(steps)
        and steps[0] == 1
        and all(
            step == 1 or step == 0 and a == b for step, a, b in zip(steps[1:], configs, configs[1:])
        )
    )
