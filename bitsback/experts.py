"""Experts: networks that share the noise levels out among them, each trained for its own (after eDiff-I, arXiv 2211.01324).

A level asks one expert only, so that more of them take no longer: what grows is the model file.  The first expert has the
finest levels, where most bits are.  Here is the float side; the integer side is integer_network.IntegerExperts.
"""
from dataclasses import dataclass

import torch
from torch import nn

from .denoiser import NetworkConfig
from .errors import TrainingError


@dataclass(frozen=True)
class Expert:
    """One network of a model: its sizes, the steps that ask it, {name: Layer} of its integers."""

    config: NetworkConfig
    steps: range
    layers: dict


def share_out(shares, count):
    """Whether ranges of levels are all of 0..count - 1, once, in order."""
    return [k for share in shares for k in share] == list(range(count))


class Experts(nn.Module):
    """Denoisers in place of one: `trunk` and `heads` as theirs, for batches of one expert's levels.

    networks: Denoisers; shares: the range of steps of each; noise: sigmas of all levels.  Errors: TrainingError unless the shares
    are all levels, once, in order.
    """

    def __init__(self, networks, shares, noise):
        super().__init__()
        if not share_out(shares, len(noise)):
            told = ", ".join(f"{share[0]} to {share[-1]}" for share in shares)
            raise TrainingError(f"experts for levels {told}: they must be levels 0 to {len(noise) - 1}, once, in order")
        self.networks, self.shares = nn.ModuleList(networks), shares
        self.logs = torch.tensor(noise).log()

    def of(self, log_sigma):
        """The Denoiser for (B,) log sigmas, by the nearest level.  Errors: ValueError where they need several."""
        nearest = (log_sigma[:, None].cpu() - self.logs).abs().argmin(1).unique().tolist()
        owners = [network for network, share in zip(self.networks, self.shares) if any(k in share for k in nearest)]
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
