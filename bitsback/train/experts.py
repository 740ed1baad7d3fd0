"""Experts in training: Denoisers that share the noise levels out, each trained for its own.

What they are for is told in `bitsback/integer/experts.py`.
"""

import torch
from torch import nn

from bitsback.errors import TrainingError
from bitsback.integer.experts import families_fit, share_out


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
