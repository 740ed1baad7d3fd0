"""One training run's state, its update step, and the checkpoint that holds it."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitsback.diffusion.levels import default_levels
from bitsback.diffusion.schedule import LearnedSchedule
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.outputs import write
from bitsback.train.augment import some_gray
from bitsback.train.denoiser import Denoiser
from bitsback.train.estimates import Estimate, estimate, schedule_gradients
from bitsback.train.grow import grow_weights
from bitsback.train.muon import Muon
from bitsback.train.packed_weights import SUFFIX, first_line, of_levels, read_packed
from bitsback.train.training_config import TrainingConfig

# (smallest, largest) log sigma of the learned schedule's lower and upper end
END_LIMITS = ((math.log(0.35), math.log(0.8)), (math.log(200.0), math.log(500.0)))
SCHEDULE_RATE = 1e-3  # learning rate of the schedule
ADAMW_LAYERS = ("first", "last", "head_features", "head_known", "head_mix", "head_out")


def is_inner(name: str, parameter: Tensor) -> bool:
    """Whether Muon updates a parameter: inner convolutions; AdamW updates all others."""
    return parameter.ndim == 4 and name.split(".")[0] not in ADAMW_LAYERS


def checkpoint_bytes(state: dict[str, Any]) -> bytes:
    """A checkpoint file of Trainer.state."""
    packed = io.BytesIO()
    torch.save(state, packed)
    return packed.getvalue()


class Trainer:
    """State of a run: network, schedule, optimisers, average, counters; saved and resumed whole."""

    def __init__(
        self, network_config: NetworkConfig, config: TrainingConfig, device: str | torch.device
    ) -> None:
        self.config, self.device = config, torch.device(device)
        with torch.random.fork_rng(devices=[]):  # the generator is the caller's
            torch.default_generator.manual_seed(config.seed)
            self.network = Denoiser(network_config).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.schedule = LearnedSchedule().to(self.device)
        named = list(self.network.named_parameters())
        self.muon = Muon(
            [p for n, p in named if is_inner(n, p)], lr=config.muon_lr, bfloat16=config.bfloat16
        )
        self.adam = torch.optim.AdamW(
            [p for n, p in named if not is_inner(n, p)],
            lr=config.lr,
            betas=(0.9, 0.99),
            weight_decay=0.0,
        )
        self.schedule_adam = torch.optim.Adam(
            self.schedule.parameters(), lr=SCHEDULE_RATE, betas=(0.9, 0.99)
        )
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.steps, self.steps_here, self.minutes_before = 0, 0, 0.0
        self.history: list[str] = []  # JSON of the reported rows

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds the state dicts of, by name."""
        return {
            "network": self.network,
            "schedule": self.schedule,
            "muon": self.muon,
            "adam": self.adam,
            "schedule_adam": self.schedule_adam,
        }

    def save(self, path: str | Path, minutes: float, force: bool = True) -> None:
        """Writes a checkpoint; minutes: of this run so far; force: replace an existing file.

        Errors: OutputExists, OutputFailed.
        """
        write(checkpoint_bytes(self.state(minutes)), path, force=force)

    def state(self, minutes: float) -> dict[str, Any]:
        """What `save` writes."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts().items()}
        state |= {
            "average": self.average,
            "steps": self.steps,
            "minutes": self.minutes_before + minutes,
            "history": self.history,
            "config": self.network.config.as_dict(),
            "generator": self.generator.get_state(),
        }
        if self.config.only:
            state["only"] = [self.config.only.start, self.config.only.stop]
        return state

    def load(self, path: str | Path) -> None:
        """Resumes from a checkpoint, or starts from a model file or a smaller network's checkpoint.

        Errors: TrainingError.
        """
        try:
            if Path(path).suffix == ".safetensors":
                from bitsback.train.restart import as_checkpoint  # which needs the coder

                state = as_checkpoint(path, self.config.only)
            elif Path(path).suffix == SUFFIX:
                count = len(default_levels())
                state = of_levels(read_packed(path), self.config.only or range(count), count)
            else:
                state = torch.load(path, map_location=self.device, weights_only=True)
            config = NetworkConfig.from_dict(state["config"])
            if "network" in state and config == self.network.config:
                self._resume(state)
            else:  # averaged weights alone: a start, with new optimisers
                self._start_from(config, state)
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from None
        except Exception as error:  # torch reports a foreign file in a dozen ways
            raise TrainingError(
                f"{path}: not a checkpoint of this network ({first_line(error)})"
            ) from None

    def _start_from(self, config: NetworkConfig, state: dict[str, Any]) -> None:
        self.network.load_state_dict(grow_weights(config, state["average"], self.network.config))
        if "schedule" in state:
            self.schedule.load_state_dict(state["schedule"])
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.steps, self.minutes_before = state["steps"], state["minutes"]

    def _resume(self, state: dict[str, Any]) -> None:
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
            for group in getattr(part, "param_groups", []):  # of a CUDA graph: tensors
                group["lr"] = float(group["lr"])
                if "capturable" in group:
                    group["capturable"] = False
        self.average = state["average"]
        self.steps, self.minutes_before = state["steps"], state["minutes"]
        self.steps_here = self.steps  # no second warm-up: the optimisers' state is complete
        self.history = state["history"]
        if len(state["generator"]) == len(self.generator.get_state()):  # else of another device
            self.generator.set_state(state["generator"].cpu())

    def learning_rate(self, share: float) -> float:
        """Factor at `share` of the run: short warm-up, flat, cosine down to lr_end."""
        c = self.config
        fall = max(0.0, (share - c.decay_from) / (1 - c.decay_from))
        return (
            c.lr_scale
            * min(1.0, (self.steps_here + 1) / 100)
            * (c.lr_end + (1 - c.lr_end) * 0.5 * (1 + math.cos(math.pi * fall)))
        )

    def step(
        self, x: Tensor, share: float, forward: Callable[..., Estimate] = estimate
    ) -> dict[str, Tensor] | None:
        """One update on x (B, 3, P, P), pixels - 128, at `share` of the run.

        forward: estimates.estimate or a function with its arguments.  Returns {"level", "pixel",
        "top"} in bits a dimension, or None if the gradient is not finite and the update skipped.
        """
        factor = self.learning_rate(share)
        rates = self.config.muon_lr, self.config.lr, SCHEDULE_RATE
        optimisers = self.muon, self.adam, self.schedule_adam
        for optimiser, lr in zip(optimisers, rates):
            for group in optimiser.param_groups:
                group["lr"] = lr * factor
            optimiser.zero_grad(set_to_none=True)
        x, gray = some_gray(x, self.generator, self.config.gray)
        level, pixel, top, leaves = forward(
            self.network,
            self.schedule,
            x,
            self.generator,
            self.config.integer,
            self.config.bfloat16,
            gray,
        )
        (level.mean() + pixel.mean() + top.mean()).backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.steps, self.steps_here = self.steps + 1, self.steps_here + 1
        if not torch.isfinite(norm):
            return None
        if leaves is not None:
            schedule_gradients(self.schedule, level, leaves)
        nn.utils.clip_grad_norm_(self.schedule.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        self._after_update()
        return {
            "level": level.mean().detach(),
            "pixel": pixel.mean().detach(),
            "top": top.mean().detach(),
        }

    @torch.no_grad()
    def _after_update(self) -> None:
        """Limits the schedule's ends and moves the average towards the new weights."""
        self.limit_ends()
        state = self.network.state_dict()
        torch._foreach_lerp_(
            list(self.average.values()), [state[k] for k in self.average], self.average_weight()
        )

    @torch.no_grad()
    def limit_ends(self) -> None:
        """Keeps the ends of the schedule within END_LIMITS."""
        for end, (low, high) in enumerate(END_LIMITS):
            self.schedule.ends[end].clamp_(low, high)

    def average_weight(self) -> float:
        """Share of the new weights in the average: large at first, then 1 - ema."""
        return 1 - min(self.config.ema, (1 + self.steps) / (20 + self.steps))

    def averaged(self) -> Denoiser:
        """A copy of the network with the averaged weights, on the CPU."""
        network = Denoiser(self.network.config)
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return network
