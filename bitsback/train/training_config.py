"""What a training run does."""

import math
from dataclasses import dataclass

from bitsback.train.augment import GRAY_SHARE


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
    only: range | None = None  # with at_levels: these levels only, as an expert for them
    bfloat16: bool = False  # autocast; pays on GPUs and on CPUs with AMX (prefers_bfloat16)
    gray: float = GRAY_SHARE  # share of the patches that are coded as one channel
    seed: int = 1
    save_every: float = 3.0  # minutes between checkpoints

    def __post_init__(self) -> None:
        """Errors: ValueError."""
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"a run of {self.minutes} minutes")
        if self.batch < 2 or self.patch < 8 or self.patch % 8:
            raise ValueError(f"batches of {self.batch} patches, sides {self.patch}: 2, and 8 n")
