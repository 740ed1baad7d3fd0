"""Training: patches of photographs, one noise level each, minimise the bound.

One step: a batch of patches; one in eight trains p(x | y_0), the others one level pair (s, t)
each.  sigma_s comes from the learned schedule at low-discrepancy times, sigma_t / sigma_s is
log-uniform, and cost / log ratio * d(log sigma)/dt estimates the bound without bias.  The same
backward pass gives the schedule its gradients: ends by the bound, interior by E[estimate^2],
its variance up to a constant (VDM, arXiv 2107.00630, section 4 and appendix H).
"""

import functools
import io
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.diffusion.schedule import LearnedSchedule
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.outputs import write
from bitsback.train.augment import GRAY_SHARE, some_gray
from bitsback.train.denoiser import Denoiser
from bitsback.train.estimates import estimate, estimate_at_levels, schedule_gradients
from bitsback.train.experts import Experts
from bitsback.train.export import save_model
from bitsback.train.grow import grow_weights
from bitsback.train.muon import Muon
from bitsback.train.patches import Patches
from bitsback.train.restart import as_checkpoint, other_experts

END_LIMITS = ((math.log(0.35), math.log(0.8)), (math.log(200.0), math.log(500.0)))


@dataclass(frozen=True)
class TrainingConfig:
    """What a run does; `minutes` counts this run only, learning rates decay towards its end."""

    minutes: float = 100.0
    batch: int = 16
    patch: int = 64
    lr: float = 2e-3  # AdamW
    muon_lr: float = 5e-3
    lr_scale: float = 1.0  # of both: less for a run that goes on from a trained network
    decay_from: float = 0.33  # share of the run at full learning rate, then cosine
    lr_end: float = 0.02
    ema: float = 0.999
    integer: bool = False  # round in the forward pass
    at_levels: bool = False  # train at the coder's own levels and lattices: the last part of a run
    only: range | None = None  # at_levels: these levels only, as an expert for them
    bfloat16: bool = False  # autocast; pays on GPUs and on CPUs with AMX (`faster_dtype`)
    gray: float = GRAY_SHARE  # share of the patches that are coded as one channel
    seed: int = 1
    save_every: float = 3.0  # minutes between checkpoints


def prefers_bfloat16(device, width=64):
    """True where a bfloat16 convolution runs faster than a float32 one, by timing both."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.zeros(8, width, 32, 32, dtype=dtype, device=device).contiguous(
            memory_format=torch.channels_last
        )
        w = torch.zeros(width, width, 3, 3, dtype=dtype, device=device)
        for trial in range(6):
            if trial == 2:
                begin = time.perf_counter()
            torch.nn.functional.conv2d(x, w, padding=1).sum().item()
        seconds[dtype] = time.perf_counter() - begin
    return seconds[torch.bfloat16] < 0.9 * seconds[torch.float32]


def is_inner(name, parameter):
    """Muon takes the inner convolutions; first, last and head layers go to AdamW."""
    return parameter.ndim == 4 and name.split(".")[0] not in (
        "first",
        "last",
        "head_features",
        "head_known",
        "head_mix",
        "head_out",
    )


class Trainer:
    """State of a run: network, schedule, optimisers, average, counters; saved and resumed whole."""

    def __init__(self, network_config, config, device):
        torch.manual_seed(config.seed)
        self.config, self.device = config, torch.device(device)
        self.network = Denoiser(network_config).to(self.device, memory_format=torch.channels_last)
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
            self.schedule.parameters(), lr=1e-3, betas=(0.9, 0.99)
        )
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.steps, self.steps_here, self.minutes_before, self.history = 0, 0, 0.0, []

    def parts(self):
        return {
            "network": self.network,
            "schedule": self.schedule,
            "muon": self.muon,
            "adam": self.adam,
            "schedule_adam": self.schedule_adam,
        }

    def save(self, path, minutes, force=True):
        state = {name: part.state_dict() for name, part in self.parts().items()}
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
        packed = io.BytesIO()
        torch.save(state, packed)
        write(packed.getvalue(), path, force=force)

    def load(self, path):
        try:
            a_model = Path(path).suffix == ".safetensors"
            state = (
                as_checkpoint(path, self.config.only)
                if a_model
                else torch.load(path, map_location=self.device, weights_only=True)
            )
            config = NetworkConfig.from_dict(state["config"])
            if (
                "network" not in state or config != self.network.config
            ):  # averaged weights alone: a start, with new optimisers
                self.network.load_state_dict(
                    grow_weights(config, state["average"], self.network.config)
                )
                if "schedule" in state:
                    self.schedule.load_state_dict(state["schedule"])
                self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
                self.steps, self.minutes_before = state["steps"], state["minutes"]
                return
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
            self.average, self.steps, self.minutes_before = (
                state["average"],
                state["steps"],
                state["minutes"],
            )
            self.steps_here = self.steps  # no second warm-up: the optimisers remember
            self.history = state["history"]
            self.generator.set_state(state["generator"].cpu())
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from None
        except Exception as error:  # torch reports a foreign file in a dozen ways
            raise TrainingError(
                f"{path}: not a checkpoint of this network ({str(error).splitlines()[0]})"
            ) from None

    def learning_rate(self, share):
        """Factor at `share` of the run: short warm-up, flat, cosine down to lr_end."""
        c = self.config
        fall = max(0.0, (share - c.decay_from) / (1 - c.decay_from))
        return (
            c.lr_scale
            * min(1.0, (self.steps_here + 1) / 100)
            * (c.lr_end + (1 - c.lr_end) * 0.5 * (1 + math.cos(math.pi * fall)))
        )

    def step(self, x, share, forward=estimate):
        """One update on x (B, 3, P, P); returns {"level", "pixel", "top"} in bits a dimension, or None if skipped."""
        factor = self.learning_rate(share)
        for optimiser, lr in (
            (self.muon, self.config.muon_lr),
            (self.adam, self.config.lr),
            (self.schedule_adam, 1e-3),
        ):
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
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.steps, self.steps_here = self.steps + 1, self.steps_here + 1
        if not torch.isfinite(norm):
            return None
        if leaves is not None:
            schedule_gradients(self.schedule, level, leaves)
        torch.nn.utils.clip_grad_norm_(self.schedule.parameters(), 1.0)
        for optimiser in (self.muon, self.adam, self.schedule_adam):
            optimiser.step()
        with torch.no_grad():
            for end, (low, high) in enumerate(END_LIMITS):
                self.schedule.ends[end].clamp_(low, high)
            weight = 1 - min(self.config.ema, (1 + self.steps) / (20 + self.steps))
            state = self.network.state_dict()
            torch._foreach_lerp_(
                list(self.average.values()), [state[k] for k in self.average], weight
            )
        return {
            "level": level.mean().detach(),
            "pixel": pixel.mean().detach(),
            "top": top.mean().detach(),
        }

    def averaged(self):
        """A copy of the network with the averaged weights."""
        network = Denoiser(self.network.config)
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return network


def train(
    folder,
    output,
    *,
    network=NetworkConfig(),
    config=TrainingConfig(),
    device="cpu",
    resume=None,
    report=lambda row: None,
    log_every=200,
    data_name=None,
    force=True,
):
    """Trains on the images below `folder` for `config.minutes`; writes `output` and `output`.ckpt, of an expert the latter alone.

    report: called with a dict every `log_every` steps (bits a dimension: total and parts,
    pixels a second, share of the run); force: replace what other runs wrote.  Returns the last row.
    Errors: TrainingError, OutputExists, OutputFailed.
    """
    device = torch.device(device)
    patches = Patches(folder, config.patch, device)
    trainer = Trainer(network, config, device)
    if resume:
        trainer.load(resume)
    forward = (
        functools.partial(estimate_at_levels, levels=default_levels(), only=config.only)
        if config.at_levels
        else estimate
    )
    forward = torch.compile(forward) if device.type == "cuda" else forward
    begin = saved = window = time.monotonic()
    sums, counted, row, may_replace = {}, 0, {}, force
    while True:
        minutes = (time.monotonic() - begin) / 60
        if minutes >= config.minutes and trainer.steps:
            break
        losses = trainer.step(
            patches.batch(config.batch, trainer.generator),
            min(1.0, minutes / config.minutes),
            forward,
        )
        if losses:
            sums = {k: sums.get(k, 0) + v for k, v in losses.items()}
            counted += 1
        if trainer.steps % log_every == 0 and counted:
            row = {k: round(float(v) / counted, 4) for k, v in sums.items()}
            seconds = time.monotonic() - window
            ends = trainer.schedule.ends.detach().exp().tolist()
            row |= {
                "total": round(sum(row.values()), 4),
                "steps": trainer.steps,
                "minutes": round(trainer.minutes_before + minutes, 2),
                "share": minutes / config.minutes,
                "pixels_per_second": round(counted * config.batch * config.patch**2 / seconds),
                "sigma_ends": [round(e, 3) for e in ends],
                "integer": config.integer,
            }
            trainer.history.append(json.dumps(row))
            report(row)
            sums, counted, window = {}, 0, time.monotonic()
        if time.monotonic() - saved > 60 * config.save_every:
            saved = time.monotonic()
            trainer.save(f"{output}.ckpt", minutes, may_replace)
            may_replace = True  # what this run wrote
    minutes = (time.monotonic() - begin) / 60
    trainer.save(f"{output}.ckpt", minutes, may_replace)
    told = {
        "minutes": round(trainer.minutes_before + minutes, 1),
        "steps": trainer.steps,
        "images": len(patches),
        "data": data_name or str(folder),
        "device": device.type,
        "integer": config.integer,
        "grey": config.gray > 0,
        "sigma_ends": [round(e, 4) for e in trainer.schedule.ends.detach().exp().tolist()],
    }
    if config.only is None:
        save_model(output, trainer.averaged(), default_levels(), told, force=force)
    return row


def read_checkpoint(path):
    """(averaged network, {"minutes", "steps"} and, of an expert, "only": range of levels) of a checkpoint that `train` wrote.  Errors: TrainingError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = Denoiser(NetworkConfig.from_dict(state["config"]))
        network.load_state_dict(state["average"])
    except Exception as error:  # torch reports a foreign file in a dozen ways
        raise TrainingError(f"{path}: not a checkpoint ({str(error).splitlines()[0]})") from None
    told = {"minutes": round(state["minutes"], 1), "steps": state["steps"]}
    if "only" in state:
        told["only"] = range(*state["only"])
    return network.requires_grad_(False).eval(), told


def read_checkpoints(paths, families=None):
    """(network, told) of one checkpoint of all levels, or of several experts' as one: Experts of these families, minutes and steps added up.

    A model file among them lends the experts that have none of the others' levels.  Errors: TrainingError, WrongModel.
    """
    models = [path for path in paths if Path(path).suffix == ".safetensors"]
    read = [read_checkpoint(path) for path in paths if path not in models]
    if len(paths) == len(read) == 1 and "only" not in read[0][1]:
        return read[0]
    noise = sigmas(default_levels())
    parts = [(network, told.get("only", range(len(noise)))) for network, told in read]
    for path in models:
        parts += other_experts(path, [k for _, steps in parts for k in steps])
    networks, shares = (
        zip(*sorted(parts, key=lambda part: part[1].start)) if models else zip(*parts)
    )
    experts = Experts(networks, list(shares), noise, families)
    return experts.requires_grad_(False).eval(), {
        key: round(sum(told[key] for _, told in read), 1) for key in ("minutes", "steps")
    }
