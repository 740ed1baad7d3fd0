"""A trainer whose whole step stays on the device: drawing patches, gradients, updates, average.

On a GPU the step is one CUDA graph, which starts some thousand kernels at once.  Nothing in it
waits for the host: learning rates are tensors, losses add up in one, and a gradient that is not
finite becomes zero, so that it reaches neither the weights nor their average.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bitsback.diffusion.levels import default_levels
from bitsback.integer.config import NetworkConfig
from bitsback.train.augment import some_gray
from bitsback.train.denoiser import set_fused
from bitsback.train.estimates import estimate_at_levels
from bitsback.train.mixture import Mixture
from bitsback.train.trainer import Trainer, TrainingConfig

WARM_UP = 4  # steps before capture: they choose convolution algorithms and make all state
PARTS = ("level", "pixel", "top")


class GraphTrainer(Trainer):
    """Trainer on a Mixture, at the coder's levels, rounded.

    mixture: where patches come from, on the device; config: at_levels and integer must be set;
    fused: use the kernels of fused.py.  First `load`, then `prepare`, then `steps_on_device`.
    """

    def __init__(
        self, network: NetworkConfig, config: TrainingConfig, mixture: Mixture, fused: bool
    ) -> None:
        super().__init__(network, config, mixture.device)
        if not (config.at_levels and config.integer):
            raise ValueError("trains at the coder's levels, and rounded, only")
        self.mixture, self.levels, self.share_before = mixture, default_levels(), 0.0
        self.sums = torch.zeros(len(PARTS) + 1, device=self.device)  # losses, and finite steps
        self.factor = torch.zeros((), device=self.device)
        self.fused = fused
        set_fused(self.network, fused)
        self.run: Callable[[], None] = self._step

    def prepare(self, graph: bool) -> None:
        """Makes learning rates tensors, takes a few steps at a low rate, and captures the graph."""
        capturable = self.device.type == "cuda"
        for optimiser in (self.muon, self.adam):
            for group in optimiser.param_groups:
                group["lr"] = torch.zeros((), device=self.device)
        for group in self.adam.param_groups:
            group["capturable"] = capturable
        self.set_rates(0.0)
        if not graph:
            return self._warm_up()
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self._warm_up()
        torch.cuda.synchronize(self.device)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, stream=stream):
            self._step()
        torch.cuda.synchronize(self.device)
        self.run = captured.replay

    def _warm_up(self) -> None:
        for _ in range(WARM_UP):
            self._step()
        self.sums.zero_()

    def set_rates(self, share: float) -> None:
        """Sets the learning rates for `share` of the run."""
        factor = self.learning_rate(share)
        for optimiser, rate in ((self.muon, self.config.muon_lr), (self.adam, self.config.lr)):
            for group in optimiser.param_groups:
                group["lr"].fill_(rate * factor)

    def steps_on_device(self, count: int) -> None:
        """Takes `count` steps and waits for them, without keeping a CPU core busy."""
        for _ in range(count):
            self.run()
        self.steps, self.steps_here = self.steps + count, self.steps_here + count
        if self.device.type == "cuda":
            done = torch.cuda.Event()
            done.record()
            while not done.query():
                time.sleep(0.0005)

    def losses(self) -> dict[str, float]:
        """Mean {"level", "pixel", "top"} in bits a dimension since the last call, of those steps
        whose loss was finite, and their number, "finite"."""
        values = self.sums.tolist()
        self.sums.zero_()
        finite = values.pop()
        return {k: v / max(finite, 1.0) for k, v in zip(PARTS, values)} | {"finite": finite}

    def state(self, minutes: float) -> dict[str, Any]:
        """As Trainer.state, with the share of the run that is done."""
        return super().state(minutes) | {"share": self.share_before}

    def _resume(self, state: dict[str, Any]) -> None:
        super()._resume(state)
        self.share_before = state.get("share", 0.0)

    def _step(self) -> None:
        config = self.config
        parameters = list(self.network.parameters())
        for parameter in parameters:
            parameter.grad = None
        x, gray = some_gray(self.mixture.batch(config.batch), None, config.gray)
        level, pixel, top, _ = estimate_at_levels(
            self.network,
            None,
            x,
            None,
            True,
            config.bfloat16,
            gray,
            levels=self.levels,
            only=config.only,
        )
        loss = level.mean() + pixel.mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for parameter in parameters:
            if parameter.grad is not None:
                torch.nan_to_num_(parameter.grad, 0.0, 0.0, 0.0)
        self.muon.step()
        self.adam.step()
        with torch.no_grad():
            state = self.network.state_dict()
            torch._foreach_lerp_(
                list(self.average.values()), [state[k] for k in self.average], 1 - config.ema
            )
            parts = torch.stack([level.mean(), pixel.mean(), top.mean(), torch.ones_like(loss)])
            self.sums += torch.where(loss.isfinite(), parts, torch.zeros_like(parts))
