"""A trainer whose whole step stays on the device: drawing patches, gradients, updates, average.

On a GPU the step is one CUDA graph, which starts some thousand kernels at once.  Nothing in it
waits for the host: learning rates are tensors, losses add up in one, and a gradient that is not
finite becomes zero, so that it reaches neither the weights nor their average.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from bitsback.diffusion.levels import default_levels
from bitsback.integer.config import NetworkConfig
from bitsback.train.augment import some_gray
from bitsback.train.denoiser import set_fused
from bitsback.train.estimates import Estimate, estimate, estimate_at_levels, schedule_gradients
from bitsback.train.mixture import Mixture
from bitsback.train.trainer import SCHEDULE_RATE, Trainer
from bitsback.train.training_config import TrainingConfig

WARM_UP = 4  # steps before capture: they choose convolution algorithms and make all state
BLOCK = 4  # steps between two looks at the clock
PARTS = ("level", "pixel", "top")


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """cuDNN times its algorithms when it meets a new size in the block."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class GraphTrainer(Trainer):
    """Trainer on a Mixture.

    mixture: where patches come from, on the device; fused: use the kernels of fused.py where the
    run rounds; ramp: the average follows the first steps closely, as Trainer's does, for a run that
    starts from random weights.  First `load`, then `prepare`, then `steps_on_device`.
    """

    def __init__(
        self,
        network: NetworkConfig,
        config: TrainingConfig,
        mixture: Mixture,
        fused: bool,
        ramp: bool = False,
    ) -> None:
        super().__init__(network, config, mixture.device)
        self.mixture, self.levels, self.share_before = mixture, default_levels(), 0.0
        self.ramp = ramp
        self.sums = torch.zeros(len(PARTS) + 1, device=self.device)  # losses, and finite steps
        self.pace = torch.full((), 1 - config.ema, device=self.device)  # of the average
        self.fused = fused
        set_fused(self.network, fused)
        self.run: Callable[[], None] = self._step

    def prepare(self, graph: bool) -> None:
        """Makes learning rates tensors, takes a few steps at a low rate, and captures the graph."""
        capturable = self.device.type == "cuda"
        for optimiser, _ in self._rates():
            for group in optimiser.param_groups:
                group["lr"] = torch.zeros((), device=self.device)
                if "capturable" in group:
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
        """Sets the learning rates for `share` of the run, and the pace of the average."""
        factor = self.learning_rate(share)
        for optimiser, rate in self._rates():
            for group in optimiser.param_groups:
                group["lr"].fill_(rate * factor)
        if self.ramp:
            self.pace.fill_(self.average_weight())

    def _rates(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """Optimisers that step, with their learning rates; at the coder's levels no schedule is."""
        found = [(self.muon, self.config.muon_lr), (self.adam, self.config.lr)]
        return found if self.config.at_levels else [*found, (self.schedule_adam, SCHEDULE_RATE)]

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
        trained = [self.network] if config.at_levels else [self.network, self.schedule]
        groups = [list(module.parameters()) for module in trained]
        for parameter in sum(groups, []):
            parameter.grad = None
        level, pixel, top, leaves = self._estimate()
        loss = level.mean() + pixel.mean()
        (loss if leaves is None else loss + top.mean()).backward()
        if leaves is not None:
            schedule_gradients(self.schedule, level, leaves)
        for group in groups:
            nn.utils.clip_grad_norm_(group, 1.0)
            for parameter in group:
                if parameter.grad is not None:
                    torch.nan_to_num_(parameter.grad, 0.0, 0.0, 0.0)
        for optimiser, _ in self._rates():
            optimiser.step()
        with torch.no_grad():
            self.limit_ends()
            state = self.network.state_dict()
            average = list(self.average.values())
            steps = torch._foreach_sub([state[k] for k in self.average], average)
            torch._foreach_mul_(steps, self.pace)
            torch._foreach_add_(average, steps)
            parts = torch.stack([level.mean(), pixel.mean(), top.mean(), torch.ones_like(loss)])
            self.sums += torch.where(loss.isfinite(), parts, torch.zeros_like(parts))

    def _estimate(self) -> Estimate:
        config = self.config
        x, gray = some_gray(self.mixture.batch(config.batch), None, config.gray)
        if not config.at_levels:
            rounding = config.integer, config.bfloat16
            return estimate(self.network, self.schedule, x, None, *rounding, gray)
        return estimate_at_levels(
            self.network,
            None,
            x,
            None,
            config.integer,
            config.bfloat16,
            gray,
            levels=self.levels,
            only=config.only,
        )
