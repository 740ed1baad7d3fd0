"""Experts: networks that share the noise levels out among them (after eDiff-I, arXiv 2211.01324).

A level asks one expert only, so that more of them take no longer: what grows is the model file.
The first expert has the finest levels, where most bits are.  Experts that grew out of one network
are a *family*: their channels mean the same, so that an image's bias updates (bias_updates.py)
serve all of them.
"""

from dataclasses import dataclass, replace

from bitsback.integer.config import NetworkConfig


@dataclass(frozen=True)
class Expert:
    """One network of a model: its sizes, the steps that ask it, {name: Layer} of its integers, the number of its family."""

    config: NetworkConfig
    steps: range
    layers: dict
    family: int


def share_out(shares, count):
    """Whether ranges of levels are all of 0..count - 1, once, in order."""
    return [k for share in shares for k in share] == list(range(count))


def families_fit(families, configs):
    """Whether numbers of families rise from 0 by one at a time, and all of a family have the same sizes (but for the embedding, which integers have none of)."""
    configs, steps = (
        [replace(config, embedding=0) for config in configs],
        [b - a for a, b in zip([-1, *families], families)],
    )
    return (
        bool(steps)
        and steps[0] == 1
        and all(
            step == 1 or step == 0 and a == b for step, a, b in zip(steps[1:], configs, configs[1:])
        )
    )
