"""Experts in training: Denoisers of which each is trained for its own range of noise levels.

integer/experts.py explains their purpose.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitsback.errors import TrainingError
from bitsback.integer.experts import families_fit, share_out
from bitsback.train.denoiser import Denoiser


class Experts(nn.Module):
    """Several Denoisers with the methods of one, for batches of one expert's levels (BoundNetwork).

    networks: Denoisers; shares: the range of levels of each; noise: sigmas of all levels; families:
    a number for each, None: all different.  Errors: TrainingError unless the shares are all levels,
    once, in order, and experts of one family have the same sizes.
    """

    def __init__(
        self,
        networks: Sequence[Denoiser],
        shares: list[range],
        noise: list[float],
        families: list[int] | None = None,
    ) -> None:
        super().__init__()
        if not share_out(shares, len(noise)):
            given = ", ".join(f"{share[0]} to {share[-1]}" for share in shares)
            raise TrainingError(
                f"experts for levels {given}: "
                f"they must be levels 0 to {len(noise) - 1}, once, in order"
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
                f"families {self.families}: give one number for each of {len(networks)} experts, "
                "rising from 0 in steps of 1; experts of one family must have the same sizes"
            )
        self.logs = torch.tensor(noise).log()

    def parts(self) -> list[tuple[Denoiser, range]]:
        """[(Denoiser, its levels)]."""
        return list(zip(cast(Iterable[Denoiser], self.networks), self.shares))

    def of(self, log_sigma: Tensor) -> Denoiser:
        """The Denoiser for (B,) log sigmas, by the nearest level.

        Errors: ValueError if the batch has levels of several experts.
        """
        nearest = (log_sigma[:, None].cpu() - self.logs).abs().argmin(1).unique().tolist()
        owners = [network for network, share in self.parts() if any(k in share for k in nearest)]
        if len(owners) > 1:
            raise ValueError("levels of several experts in one batch")
        return owners[0]

    def trunk(
        self, y: Tensor, log_sigma: Tensor, integer: bool = False
    ) -> tuple[Tensor, Tensor, Any]:
        """Denoiser.trunk; the third result is for `heads` alone."""
        network = self.of(log_sigma)
        out, features, e = network.trunk(y, log_sigma, integer)
        return out, features, (network, e)

    def heads(
        self,
        features: Tensor,
        e: Any,
        log_ratio: Tensor,
        pixels: Tensor,
        innovations: Tensor,
        integer: bool = False,
    ) -> Tensor:
        """Denoiser.heads of the expert whose trunk returned `e`."""
        network, e = e
        return network.heads(features, e, log_ratio, pixels, innovations, integer)
