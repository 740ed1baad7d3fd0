"""Experts: networks that share the noise levels out among them, each trained for its own (after eDiff-I, arXiv 2211.01324).

A level asks one expert only, so that more of them take no longer: what grows is the model file.  The first expert has the
finest levels, where most bits are.  Experts that grew out of one network are a *family*: their channels mean the same, so that a file's
tuned biases (tuned.py) serve all of them.  Here is the float side; the integer side is integer_network.IntegerExperts.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from bitsback.train.denoiser import NetworkConfig
from bitsback.errors import TrainingError


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


class Experts(nn.Module):
    """Denoisers in place of one: `trunk` and `heads` as theirs, for batches of one expert's levels.

    networks: Denoisers; shares: the range of steps of each; noise: sigmas of all levels; families: numbers, or None where each is
    its own.  Errors: TrainingError unless the shares are all levels, once, in order, and the families fit.
    """

    def __init__(self, networks, shares, noise, families=None):
        super().__init__()
        if not share_out(shares, len(noise)):
            told = ", ".join(f"{share[0]} to {share[-1]}" for share in shares)
            raise TrainingError(
                f"experts for levels {told}: they must be levels 0 to {len(noise) - 1}, once, in order"
            )
        self.networks, self.shares, self.families = (
            nn.ModuleList(networks),
            shares,
            list(range(len(networks)) if families is None else families),
        )
        if not (
            len(self.families) == len(networks)
            and families_fit(self.families, [network.config for network in networks])
        ):
            raise TrainingError(
                f"families {self.families}: a number for each of {len(networks)} experts, from 0 on by one at a time, those of a family of the same sizes"
            )
        self.logs = torch.tensor(noise).log()

    def of(self, log_sigma):
        """The Denoiser for (B,) log sigmas, by the nearest level.  Errors: ValueError where they need several."""
        nearest = (log_sigma[:, None].cpu() - self.logs).abs().argmin(1).unique().tolist()
        owners = [
            network
            for network, share in zip(self.networks, self.shares)
            if any(k in share for k in nearest)
        ]
        if len(owners) > 1:
            raise ValueError("levels of several experts in one batch")
        return owners[0]

    def trunk(self, y, log_sigma, integer=False):
        """Denoiser.trunk; the last of what it returns is for `heads` alone."""
        network = self.of(log_sigma)
        out, features, e = network.trunk(y, log_sigma, integer)
        return out, features, (network, e)

    def heads(self, features, e, log_ratio, pixels, innovations, integer=False):
        """Denoiser.heads, of the expert that trunk asked."""
        network, e = e
        return network.heads(features, e, log_ratio, pixels, innovations, integer)
